"use strict";
const { assert, newBrowser, scenario, setUp, signIn } = require("./user.cjs");

scenario(async () => {
  await setUp(await newBrowser());
  const page = await newBrowser();
  await signIn(page);
  const challenge = page.url();
  const origin = new URL(challenge).origin;
  const csrf = await page.getAttribute("input[name=csrf]", "value");
  const post = (form, headers) => page.request.post(challenge, { form, headers, maxRedirects: 0 });
  const good = { csrf, code: "000000" };
  assert.equal((await post(good, { origin: "https://evil.example" })).status(), 403, "another origin");
  assert.equal((await post(good, { origin: "null" })).status(), 403, "no origin");
  assert.equal((await post({ code: "000000" }, { origin })).status(), 403, "no token");
  assert.equal((await post({ ...good, csrf: csrf.replace(/^./, (c) => (c === "A" ? "B" : "A")) }, { origin })).status(), 403, "another token");
  assert.equal((await post({ csrf, code: "0".repeat(20_000) }, { origin })).status(), 413, "a big form");

  const answer = await page.goto(challenge);
  const headers = answer.headers();
  assert.match(headers["content-security-policy"], /default-src 'none'/);
  assert.match(headers["content-security-policy"], /frame-ancestors http:\/\/127/);
  assert.equal(headers["cache-control"], "no-store");
  assert.equal(headers["x-content-type-options"], "nosniff");
  // A prefetch and a HEAD request claim nothing.
  const left = (await page.textContent("main")).includes("tries left");
  assert.equal(left, false, "no forged form was counted");
});
