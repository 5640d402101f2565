"use strict";
const { addPhone, arrived, assert, codeAfter, newBrowser, newest, noticeLink, openSettings, openSettingsByText, scenario, setUp, shot, shows, signIn, signInByText, type } =
  require("./user.cjs");

scenario(async () => {
  const [first, second] = ["+447700900200", "+447700900211"];
  await setUp(await newBrowser());
  const page = await newBrowser();
  await signInByText(page);

  // Adding a phone needs a fresh proof.
  await openSettings(page);
  await page.goto(new URL("/settings/phone", page.url()).href);
  assert.equal(await page.locator("input[name=number]").count(), 0, "a fresh proof is required");
  await shows(page, "Confirm that it is you");
  const place = await newest(first, "sms");
  await page.click("form[action='/settings/proof'] button");
  await type(page, await codeAfter(first, "sms", place));
  await addPhone(page, "07700 900211", second);
  await page.waitForURL((url) => url.pathname === "/settings");
  await shows(page, "Confirmed.");
  await shot(page, "settings-two-phones");
  assert.ok(await noticeLink(first, "was added to your account"), "the first phone gets a notice");

  // Both are listed with masked numbers, and the preferred one is used first.
  const other = await newBrowser();
  let [toFirst, toSecond] = [await newest(first, "sms"), await newest(second, "sms")];
  await signIn(other);
  await codeAfter(first, "sms", toFirst);
  assert.equal(await newest(second, "sms"), toSecond, "the added phone is not preferred");
  await other.click("a[href$='/ways']");
  const ways = await other.textContent("main");
  assert.match(ways, /ends in 00/);
  assert.match(ways, /ends in 11/);
  assert.doesNotMatch(ways, /7700/, "no full number is shown");
  await shot(other, "ways-two-phones");
  await other.waitForSelector("li:has-text('ends in 11') button:has-text('Text message'):enabled");
  await other.click("li:has-text('ends in 11') button:has-text('Text message')");
  await type(other, await codeAfter(second, "sms", toSecond));
  await shows(other, "Second step: sms (second)");

  // "Ask for this first" changes the order.
  await openSettingsByText(other);
  await other.click("a[href^='/settings/methods/']:has-text('ends in 11')");
  await shot(other, "method-second-phone");
  await other.click("button[value=prefer]");
  await shows(other, "Saved.");
  const third = await newBrowser();
  [toFirst, toSecond] = [await newest(first, "sms"), (await arrived(second, "sms"))[0].seq];
  await signIn(third);
  await type(third, await codeAfter(second, "sms", toSecond));
  await shows(third, "Second step: sms (second)");
  assert.equal(await newest(first, "sms"), toFirst);

  // The first phone can be removed now, because the other one and the recovery codes remain.
  await other.click("text=Back to the settings");
  await other.click("a[href^='/settings/methods/']:has-text('ends in 00')");
  await other.click("a[href$='/remove']");
  await shot(other, "remove");
  await other.click("button[value=remove]");
  await shows(other, "Removed.");
  assert.equal(await other.locator("a[href^='/settings/methods/']").count(), 1);
});
