"use strict";
const { assert, codeAfter, newBrowser, newest, openSettings, scenario, setUp, shot, shows, signIn, stack, type } = require("./user.cjs");

scenario(async () => {
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await page.goto(new URL("/settings/phone", page.url()).href);
  for (const typed of ["", "call me", "0770", "07700 900200 12345", "+33 6 12 34 56 78", "0909 879 0000"]) {
    await page.fill("input[name=number]", typed);
    await page.click("button[value=sms]");
    await page.waitForSelector("[role=alert]");
    assert.match(page.url(), /\/settings\/phone$/, typed);
  }
  await shot(page, "odd-number");

  const user = await newBrowser();
  await setUp(user, { typed: "0044 (0)7700-900200" });
  const second = await newBrowser();
  const place = await newest("+447700900200", "sms");
  await signIn(second);
  const code = await codeAfter("+447700900200", "sms", place);
  for (const typed of ["", "12345", "1234567", "abcdef"]) {
    await second.fill("input[name=code]", typed);
    await second.locator("form:has(input[name=code])").first().evaluate((form) => form.submit());
    await shows(second, "six digits");
  }
  const wide = [...code].map((d) => String.fromCodePoint(0xff10 + Number(d)));
  await type(second, ` ${wide.slice(0, 3).join("")}\u2013${wide.slice(3).join("")} `);
  await shows(second, "Second step: sms (second)");

  // An unknown challenge, a challenge that another browser claimed, and a URL without a challenge.
  for (const path of ["/c/unknown", "/challenge/0192f0c1-2222-4333-8444-555566667777", "/challenge/nonsense", "/nothing"]) {
    const answer = await second.goto(stack.pages + path);
    assert.ok(answer.status() >= 400 && answer.status() < 500, path);
    assert.ok((await second.textContent("body")).length > 20, path);
  }
});
