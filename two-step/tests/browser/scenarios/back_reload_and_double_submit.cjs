"use strict";
const { assert, codeAfter, newBrowser, newest, scenario, setUp, shows, signIn, stack, type } = require("./user.cjs");

scenario(async () => {
  const number = "+447700900200";
  await setUp(await newBrowser());
  const page = await newBrowser();
  const place = await newest(number, "sms");
  await signIn(page);
  const challenge = page.url();
  const code = await codeAfter(number, "sms", place);
  await page.waitForLoadState();
  await page.reload();
  await page.reload();
  assert.equal(page.url(), challenge);

  // A second browser with the URL gets no page.
  const stranger = await newBrowser();
  const answer = await stranger.goto(challenge);
  assert.ok(answer.status() === 403 || answer.status() === 404);

  // If one browser submits the same code twice, both answers are the same redirect.
  const csrf = await page.getAttribute("input[name=csrf]", "value");
  const send = () => page.request.post(challenge, { form: { csrf, code }, headers: { origin: new URL(challenge).origin }, maxRedirects: 0 });
  const [one, two] = [await send(), await send()];
  assert.equal(one.status(), 303);
  assert.equal(one.headers().location, two.headers().location);
  await page.goto(one.headers().location);
  await shows(page, "Second step: sms (second)");
  await page.goto(challenge);
  assert.equal(await page.locator("input[name=code]").count(), 0);

  // "Back" shows a page without a code field.
  await page.goto(`${stack.demo}shop`);
  await page.goBack();
  await page.waitForLoadState();
  assert.equal(new URL(page.url()).pathname, new URL(challenge).pathname);
  assert.equal(await page.locator("input[name=code]").count(), 0);
  await shows(page, "Already verified");

  // Two tabs of one browser, each with its own challenge.
  const context = (await newBrowser()).context();
  const [left, right] = [await context.newPage(), await context.newPage()];
  const before = await newest(number, "sms");
  await signIn(left);
  const leftCode = await codeAfter(number, "sms", before);
  const between = await newest(number, "sms");
  await signIn(right);
  const rightCode = await codeAfter(number, "sms", between);
  await type(left, rightCode === leftCode ? "999999" : rightCode);
  await shows(left, "That is not the code.");
  await type(right, rightCode);
  await shows(right, "You are signed in");
});
