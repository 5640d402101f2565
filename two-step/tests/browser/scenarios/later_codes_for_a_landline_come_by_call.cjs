"use strict";
const { arrived, assert, codeAfter, newBrowser, newest, openSettings, poll, saveRecoveryCodes, scenario, shot, shows, signIn, type } =
  require("./user.cjs");

scenario(async () => {
  // A landline is added by text. The text is refused, and a call follows.
  const landline = "+447700900111";
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await page.goto(new URL("/settings/phone", page.url()).href);
  let calls = await newest(landline, "voice");
  await page.fill("input[name=number]", "07700 900111");
  await page.click("button[value=sms]");
  const first = await codeAfter(landline, "voice", calls);
  await shows(page, "We are calling");
  await shot(page, "landline-added");
  await type(page, first);
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");

  // The failed text showed that the number is a landline.
  await page.click("a[href='/settings']");
  await page.click("a[href^='/settings/methods/']");
  const learnt = async () => (await page.reload(), await page.textContent("main")).includes("This number cannot receive texts.");
  await poll(learnt, "the number is known as a landline");

  // Later codes come by call at once, without a text.
  calls = await newest(landline, "voice");
  const second = await newBrowser();
  await signIn(second);
  await shows(second, "Answer your phone");
  const code = await codeAfter(landline, "voice", calls);
  assert.equal(await second.locator("button[value=sms]").count(), 0, "no text is offered");
  await second.click("a[href$='/ways']");
  await shows(second, "Phone call");
  assert.equal(await second.locator("text=Text message").count(), 0, "and it is not listed as another method");
  await second.goBack();
  await type(second, code);
  await shows(second, "Second step: voice (second)");
  assert.deepEqual(await arrived(landline, "sms"), []);
  await openSettings(second);
  calls = await newest(landline, "voice");
  await second.click("form[action='/settings/proof'] button");
  await type(second, await codeAfter(landline, "voice", calls));
  await second.click("a[href^='/settings/methods/']");
  await shows(second, "This number cannot receive texts. Codes come by call.");
  await shows(second, "We ask for this first.");
  await shot(second, "method-landline");
});
