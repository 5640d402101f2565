"use strict";
const { codeAfter, newBrowser, newest, noticeLink, scenario, script, setUp, shot, shows, signIn, type } = require("./user.cjs");

// A code can be asked for again after a minute.
scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  await noticeLink(number, "turned on");

  // The carrier accepts neither the text nor the call that follows it.
  await script(number, "sms", ["unroutable"]);
  await script(number, "voice", ["unroutable"]);
  const calls = await newest(number, "voice");
  const page = await newBrowser();
  await signIn(page);
  await page.waitForSelector("button[value=voice]");
  await page.waitForSelector("button[value=voice]:enabled", { timeout: 20000 });
  await shot(page, "text-refused");
  await page.click("button[value=voice]");
  await type(page, await codeAfter(number, "voice", calls));
  await shows(page, "Second step: voice (second)");
});
