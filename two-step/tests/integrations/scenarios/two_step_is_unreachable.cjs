"use strict";
const { assert, newBrowser, password, refused, scenario, SHOP, shows, signIn } = require("./visitor.cjs");

/** Checks that no server listens there any more. */
async function gone(url) {
  for (const until = Date.now() + 10_000; Date.now() < until; ) {
    if (!(await fetch(url).catch(() => undefined))) return;
  }
  assert.fail(`${url} still answers`);
}

scenario(async () => {
  const page = await newBrowser();
  await signIn(page, { name: "alan", trust: true });
  process.kill(Number(process.env.DEMO_PID), "SIGKILL");
  await gone(JSON.parse(process.env.STACK).api);

  const [answer] = await Promise.all([page.waitForResponse(`${SHOP}/settings`), page.click("text=Two-step verification")]);
  assert.equal(answer.status(), 503);
  await shows(page, "You are signed in as alan");

  await page.fill("input[name=old]", "turing-1936");
  await page.fill("input[name=new]", "turing-1950");
  await page.click("text=Change password");
  assert.match(await page.textContent("[role=alert]"), /password is changed, but browsers that you trusted still are/);

  await page.click("text=Sign out");
  await shows(page, "Sign in");

  const stranger = await newBrowser();
  const options = { form: { name: "alan", password: "turing-1950" }, headers: { origin: SHOP }, maxRedirects: 0 };
  const refusal = await stranger.request.post(`${SHOP}/sign-in`, options);
  assert.equal(refusal.status(), 503);
  assert.ok(Number(refusal.headers()["retry-after"]) > 0);
  await password(stranger, { name: "alan", typed: "turing-1950" });
  await refused(stranger, /Signing in is not possible now/);
});
