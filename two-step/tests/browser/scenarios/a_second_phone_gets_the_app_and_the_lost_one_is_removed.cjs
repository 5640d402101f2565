"use strict";
const {
  addToApp, approve, assert, newBrowser, openApp, openSettings, saveRecoveryCodes, scenario, shot, shows, signIn,
} = require("./user.cjs");

scenario(async () => {
  const [first, second] = [await openApp(), await openApp()];
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await page.click("a[href='/settings/app']");
  await addToApp(page, first);
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");

  // The app is also set up on a second phone.
  await page.click("a[href='/settings']");
  await page.click("a[href='/settings/app']");
  await addToApp(page, second);
  await shows(page, "Confirmed.");
  assert.equal(await page.locator("a[href^='/settings/methods/']").count(), 2);
  await shot(page, "settings-two-apps");

  // Another account in the same app: each has its own key.
  const other = await newBrowser();
  await signIn(other, "alan", "turing");
  await openSettings(other);
  await other.click("a[href='/settings/app']");
  await addToApp(other, first);
  assert.equal(await first.locator("main li").count(), 2);
  await shows(first, "alan at the shop");
  await shot(first, "app-two-accounts");

  // The first phone gets the request. The user chooses the other phone, and the first request is withdrawn.
  const browser = await newBrowser();
  await signIn(browser);
  await shows(first, "Are you signing in to Shop?");
  await shows(first, "ada at the shop");
  await browser.click("a[href$='/ways']");
  await shot(browser, "ways-two-apps");
  await browser.locator("button:has-text('The app')").nth(1).click();
  await shows(second, "Are you signing in to Shop?");
  await shows(first, "Your accounts");
  await approve(second, browser);
  await shows(browser, "Second step: app (second)");

  // The first phone is lost. It is removed in the settings, and its app notices that.
  await openSettings(browser);
  await browser.click("form[action='/settings/proof'] button");
  await shows(first, "Are you opening your security settings at Shop?");
  await approve(first, browser);
  await shows(browser, "Methods");
  await browser.locator("a[href^='/settings/methods/']").first().click();
  await browser.click("a[href$='/remove']");
  await browser.click("button[value=remove]");
  await shows(browser, "Removed.");
  await first.click("text=Done");
  await first.reload();
  await shows(first, "it was removed in the settings");
  await shot(first, "app-removed");
  const last = await newBrowser();
  await signIn(last);
  await shows(second, "Are you signing in to Shop?");
  await approve(second, last);
  await shows(last, "Second step: app (second)");
});
