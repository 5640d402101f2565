"use strict";
const { assert, codeAfter, newBrowser, newest, scenario, script, setUp, shows, signIn, type } = require("./user.cjs");

// The carrier accepts the text and reports nothing more. The user need not wait for it.
scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  const page = await newBrowser();
  const [texts, calls] = [await newest(number, "sms"), await newest(number, "voice")];
  await script(number, "sms", ["silent"]);
  await signIn(page);
  const byText = await codeAfter(number, "sms", texts);
  await shows(page, "On its way to your phone");
  await page.click("button[value=voice]");
  const byCall = await codeAfter(number, "voice", calls);
  assert.equal(byCall, byText, "one code per challenge and method");
  await type(page, byCall);
  await shows(page, "Second step: voice (second)");
});
