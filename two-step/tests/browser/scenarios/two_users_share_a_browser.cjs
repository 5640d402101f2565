"use strict";
const { api, assert, codeAfter, newBrowser, newest, scenario, setUp, shows, signIn, signInByText, stack, type } = require("./user.cjs");

const GRACE = { user: "grace", password: "hopper", typed: "07700 900201", number: "+447700900201" };

scenario(async () => {
  const page = await newBrowser();
  await setUp(page);
  await page.goto(`${stack.demo}shop`);
  await page.click("text=Sign out");
  await setUp(page, GRACE);
  await page.goto(`${stack.demo}shop`);
  await page.click("text=Sign out");

  // Ada trusts the browser. Grace still needs a code on it, and trusts it too.
  await signInByText(page, { trust: true });
  await page.click("text=Close the browser and come back");
  const place = await newest(GRACE.number, "sms");
  await signIn(page, GRACE.user, GRACE.password);
  assert.match(page.url(), /\/challenge\//, "a trust is valid for one account");
  const code = await codeAfter(GRACE.number, "sms", place);
  await page.check("input[name=trust]");
  await type(page, code);
  await shows(page, "Second step: sms (second)");
  for (const [user, password] of [["ada", "lovelace"], [GRACE.user, GRACE.password]]) {
    await page.goto(`${stack.demo}shop`);
    await page.click("text=Close the browser and come back");
    await signIn(page, user, password);
    await shows(page, "Second step: trust (trusted)");
  }

  // Grace signs out. Ada's trust stays.
  await page.click("text=Sign out");
  await signIn(page);
  await shows(page, "Second step: trust (trusted)");

  // Two concurrent tabs with the same current cookie: both sign in.
  const tabs = [page, await page.context().newPage()];
  const claim = async (tab) => {
    const { body } = await api("POST", "/v1/challenges", { user: "ada", return_url: `${stack.demo}shop/return`, state: "s", nonce: "n" });
    const back = tab.waitForRequest(/\/shop\/return\?/);
    await tab.goto(body.url);
    return (await back).url();
  };
  for (const url of await Promise.all(tabs.map(claim))) assert.match(url, /ticket=/);
  await page.goto(`${stack.demo}shop`);
  await page.click("text=Close the browser and come back");
  await signIn(page);
  await shows(page, "Second step: trust (trusted)");
});
