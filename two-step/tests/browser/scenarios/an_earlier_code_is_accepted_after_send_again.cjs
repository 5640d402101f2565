"use strict";
const { askForCode, assert, codeAfter, newBrowser, newest, scenario, setUp, shot, shows, type } = require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());

  // "Send again" sends the same code, and shows when it can be pressed again.
  const page = await newBrowser();
  const code = await askForCode(page);
  const place = await newest(number, "sms");
  await page.waitForSelector("button[value=sms]:enabled");
  await page.click("button[value=sms]");
  assert.equal(await codeAfter(number, "sms", place), code);
  await shot(page, "sent-again");
  await type(page, code);
  await shows(page, "Second step: sms (second)");

  // The code of a late first text is accepted after another method was chosen.
  const late = await newBrowser();
  const byText = await askForCode(late);
  await late.click("a[href$='/ways']");
  await late.click("button:has-text('Recovery code')");
  await late.waitForSelector("input[autocapitalize=characters]");
  await type(late, byText);
  await shows(late, "Second step: sms (second)");
});
