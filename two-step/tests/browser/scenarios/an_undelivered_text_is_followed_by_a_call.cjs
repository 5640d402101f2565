"use strict";
const { assert, codeAfter, newBrowser, newest, noticeLink, openSettingsByText, scenario, script, setUp, shot, shows, signIn, signInByText, type } =
  require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  // The outcomes are for codes, because the notice has arrived before.
  await noticeLink(number, "turned on");

  // The call follows automatically with the same code, and the page shows it.
  await script(number, "sms", ["undelivered"]);
  let [texts, calls] = [await newest(number, "sms"), await newest(number, "voice")];
  const page = await newBrowser();
  await signIn(page);
  const byText = await codeAfter(number, "sms", texts);
  const byCall = await codeAfter(number, "voice", calls);
  assert.equal(byCall, byText, "one code per challenge and method");
  // The page switches to the call automatically, with its heading and buttons.
  await shows(page, "Answer your phone");
  await shows(page, "we called and read out the code");
  await shot(page, "call-followed");
  await type(page, byCall);
  await shows(page, "Second step: voice (second)");

  // The page does not change while the user types.
  [texts, calls] = [await newest(number, "sms"), await newest(number, "voice")];
  await script(number, "sms", ["undelivered"]);
  const typing = await newBrowser();
  await signIn(typing);
  await typing.fill("input[name=code]", "12");
  const code2 = await codeAfter(number, "voice", calls);
  await shows(typing, "we called and read out the code");
  assert.equal(await typing.inputValue("input[name=code]"), "12");
  await type(typing, code2);
  await shows(typing, "Second step: voice (second)");

  // Without "If a text fails, call me" the user must request the call.
  const owner = await newBrowser();
  await signInByText(owner);
  await openSettingsByText(owner);
  await owner.click("a[href^='/settings/methods/']");
  await owner.click("button[value=fallback]");
  await shows(owner, "Saved.");
  await shot(owner, "method");
  await script(number, "sms", ["undelivered"]);
  const other = await newBrowser();
  [texts, calls] = [await newest(number, "sms"), await newest(number, "voice")];
  await signIn(other);
  const code = await codeAfter(number, "sms", texts);
  await shows(other, "The text may not have arrived.");
  assert.equal(await newest(number, "voice"), calls, "no call without a request");
  await shot(other, "text-failed");
  await other.click("button[value=voice]");
  assert.equal(await codeAfter(number, "voice", calls), code);
  await type(other, code);
  await shows(other, "Second step: voice (second)");
});
