"use strict";
const { assert, newBrowser, scenario, setUp, shot, shows, signIn, signInByText, stack } = require("./user.cjs");

scenario(async () => {
  await setUp(await newBrowser());
  const trusted = await newBrowser();
  await new Promise((resolve) => setTimeout(resolve, 1100));
  await signInByText(trusted, { trust: true });
  // The notice "turned on" came by text, and its link leads to the stop page.
  let link;
  for (const until = Date.now() + 15_000; !link && Date.now() < until; ) {
    const { phones } = await (await fetch(`${stack.demo}phones`)).json();
    const bodies = phones.flatMap((phone) => phone.messages.map((m) => m.body ?? ""));
    link = bodies.map((body) => body.match(/http\S+\/stop\/\S+/)?.[0]).find(Boolean);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.ok(link, "a notice with a link came");
  const page = await newBrowser();
  await page.goto(link);
  await shot(page, "stop");
  // Looking stops nothing.
  await trusted.click("text=Close the browser and come back");
  await signIn(trusted);
  await shows(trusted, "Second step: trust (trusted)");
  await page.click("main form button.primary, main form button");
  await shot(page, "stopped");
  await trusted.click("text=Close the browser and come back");
  await signIn(trusted);
  assert.match(trusted.url(), /\/challenge\//, "the trust has ended");
  const again = await page.goto(link);
  assert.equal(again.status(), 200);
  assert.equal(await page.locator("main form[action*='/stop/']").count(), 0, "it was stopped before");
  assert.equal((await page.goto(`${stack.pages}/stop/unknown`)).status(), 410);
});
