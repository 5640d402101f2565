"use strict";
const { readFileSync } = require("node:fs");
const { askForCode, assert, newBrowser, openSettings, scenario, setUp, signIn, signInByText, codeAfter, newest, type } = require("./user.cjs");

const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

async function check(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    // Without motion: a colour half-way through its transition is nobody's to judge.
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of [320, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${name}: scrolls sideways at ${width}`);
    }
    // The policy of the pages takes no foreign script; Playwright evaluates it beside the page.
    const findings = await page.evaluate(`${axe}; axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.nodes[0].html))`);
    assert.deepEqual(findings, [], `${name} in ${colorScheme}`);
  }
}

scenario(async () => {
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await check(page, "choose");
  for (const path of ["/settings/phone", "/settings/authenticator"]) {
    await page.goto(new URL(path, page.url()).href);
    await check(page, path);
  }
  const user = await newBrowser();
  await setUp(user);
  const other = await newBrowser({ locale: "de-DE" });
  await askForCode(other);
  await check(other, "code");
  await other.goto(`${other.url()}/ways`);
  await check(other, "ways");
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const third = await newBrowser();
  await signInByText(third);
  await openSettings(third);
  await check(third, "proof");
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const place = await newest("+447700900200", "sms");
  await third.click("form[action='/settings/proof'] button");
  await type(third, await codeAfter("+447700900200", "sms", place));
  for (const path of ["/settings", "/settings/devices", "/settings/history", "/settings/off", "/settings/recovery-codes"]) {
    await third.goto(new URL(path, third.url()).href);
    await check(third, path);
  }
  await third.click("form[action='/settings/recovery-codes'] button");
  await check(third, "new recovery codes");
});
