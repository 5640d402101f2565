"use strict";
const { assert, letters, mailedCode, newBrowser, openSettingsByText, poll, scenario, setUp, shot, shows, signIn, askForCode, signInByText, type } =
  require("./user.cjs");

scenario(async () => {
  const address = "Ada.Lovelace@home.example";
  await setUp(await newBrowser());
  const page = await newBrowser();
  await signInByText(page);
  await openSettingsByText(page);
  await page.click("a[href='/settings/email']");
  await page.fill("input[name=address]", "not an address");
  await page.click("main form button.primary");
  await shows(page, "This is not an e-mail address.");
  await shot(page, "email-odd");
  await page.fill("input[name=address]", "ada@wrong.example");
  await page.click("main form button.primary");
  await shows(page, "ada@wrong.example");
  await page.click("button[name=change]");
  await page.fill("input[name=address]", address);
  await page.click("main form button.primary");
  await shows(page, address);
  assert.equal(await page.locator("text=Check again >> visible=true").count(), 0, "a mail has no further states");
  await shot(page, "email-code");
  await type(page, await mailedCode(address, 0));
  await page.waitForURL((url) => url.pathname === "/settings");
  await shows(page, "A•••@home.example");
  await shows(page, "For security notices only");
  await shot(page, "settings-with-email");

  // It gets notices with a stop page, and cannot be used to sign in.
  await page.goto(new URL("/settings/recovery-codes", page.url()).href);
  await page.click("form[action='/settings/recovery-codes'] button");
  const [notice] = await poll(async () => ((all) => all.length > 1 && all)(await letters(address)), "a notice");
  assert.equal(notice.subject, "Shop: New recovery codes");
  const stop = await newBrowser();
  await stop.goto(notice.body.match(/http\S+\/stop\/\S+/)[0]);
  await shows(stop, "New recovery codes were made");
  const second = await newBrowser();
  await askForCode(second);
  await second.click("a[href$='/ways']");
  await shows(second, "Recovery code");
  assert.equal(await second.locator("text=E-mail").count(), 0);
});
