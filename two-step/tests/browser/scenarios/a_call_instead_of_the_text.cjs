"use strict";
const { assert, codeAfter, newBrowser, newest, scenario, setUp, shot, shows, signIn, type } = require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  const page = await newBrowser();
  const [texts, calls] = [await newest(number, "sms"), await newest(number, "voice")];
  await signIn(page);
  const byText = await codeAfter(number, "sms", texts);
  await shows(page, "Delivered");
  await shot(page, "delivered");
  // The button becomes enabled after the gap between two sends.
  await page.click("button[value=voice]");
  const byCall = await codeAfter(number, "voice", calls);
  assert.equal(byCall, byText, "one code per challenge and method");
  await shot(page, "calling");
  await type(page, byCall);
  await shows(page, "Second step: voice (second)");
});
