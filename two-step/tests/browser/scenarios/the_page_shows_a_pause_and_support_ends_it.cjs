"use strict";
const { api, askForCode, assert, codeAfter, newBrowser, newest, scenario, setUp, shot, shows, signIn, support, type, wrong } = require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  const page = await newBrowser();
  const code = await askForCode(page);
  for (const left of ["4 tries left", "3 tries left", "2 tries left", "1 try left"]) {
    await type(page, wrong(code));
    await shows(page, left);
  }
  await type(page, wrong(code));
  await shows(page, "Too many wrong codes");
  assert.match(await page.textContent("main"), /Sign in again in (\d+ s|1 min)\./);
  await shot(page, "locked-with-time");

  // The next sign-in shows the duration, sends nothing, and accepts no code.
  const texts = await newest(number, "sms");
  const paused = await newBrowser();
  await signIn(paused);
  await shows(paused, "Sign in again in");
  assert.equal(await paused.locator("input[name=code], button[name=channel]").count(), 0);
  await shot(paused, "paused");
  await paused.click("text=Try again");
  await shows(paused, "Sign in again in");
  assert.equal(await newest(number, "sms"), texts, "no text while the account is paused");

  // Support ends the pause, and the sign-in continues.
  const unlock = { user: "ada", action: "unlock", reason: "called from her office", evidence: ["call_back"], agent: "kim" };
  assert.equal((await support("POST", "/v1/support/cases", unlock)).body.state, "done");
  await paused.click("text=Try again");
  await shows(paused, "No code was sent yet.");
  await shot(paused, "unlocked");
  await paused.click("button:has-text('Send a code')");
  await type(paused, await codeAfter(number, "sms", texts));
  await shows(paused, "Second step: sms (second)");
  const events = (await api("GET", "/v1/events?limit=100")).body.events.map((e) => e.type);
  for (const type of ["challenge.locked", "account.paused", "support.asked", "support.done"]) assert.ok(events.includes(type), type);
});
