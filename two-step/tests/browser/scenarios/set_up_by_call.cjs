"use strict";
const { assert, arrived, codeAfter, newBrowser, newest, openSettings, saveRecoveryCodes, scenario, shot, shows, signIn, type } =
  require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await page.goto(new URL("/settings/phone", page.url()).href);
  const before = await newest(number, "voice");
  await page.fill("input[name=number]", "07700 900200");
  await page.click("button[value=voice]");
  const code = await codeAfter(number, "voice", before);
  await shot(page, "phone-called");
  await type(page, code);
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");
  await shows(page, "Two-step verification is on");
  const codes = (await arrived(number, "sms")).length;
  assert.equal(codes, 0, "no code was sent by text");

  // Later codes come by call.
  const again = await newBrowser();
  const place = await newest(number, "voice");
  await signIn(again);
  await shows(again, "Answer your phone");
  await type(again, await codeAfter(number, "voice", place));
  await shows(again, "Second step: voice (second)");
});
