"use strict";
const { assert, codeAfter, newBrowser, newest, scenario, setUp, shot, shows, signIn, type, wrong } = require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  const page = await newBrowser();
  const place = await newest(number, "sms");
  await signIn(page);
  const code = await codeAfter(number, "sms", place);
  // An entry without six digits is not counted.
  await type(page, "12345");
  for (const left of [4, 3, 2]) {
    await type(page, wrong(code));
    await shows(page, `${left} tries left`);
  }
  await shot(page, "wrong");
  await type(page, wrong(code));
  await shows(page, "1 try left");
  await type(page, wrong(code));
  await page.waitForSelector("h1");
  await shot(page, "locked");
  assert.equal(await page.locator("input[name=code]").count(), 0, "no further code is accepted");

  // The account is paused for a minute. The next challenge shows it, and does not accept the right code.
  const next = await newBrowser();
  await signIn(next);
  assert.doesNotMatch(await next.textContent("main"), /signed in/);
});
