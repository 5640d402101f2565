"use strict";
const { assert, mailedCode, askForCode, letters, newBrowser, openSettingsByText, poll, scenario, setUp, shot, shows, signInByText, support, type } =
  require("./user.cjs");

scenario(async () => {
  const address = "ada@home.example";
  await setUp(await newBrowser());
  const owner = await newBrowser();
  await signInByText(owner);
  await openSettingsByText(owner);
  await owner.goto(new URL("/settings/email", owner.url()).href);
  await owner.fill("input[name=address]", address);
  await owner.click("main form button.primary");
  await type(owner, await mailedCode(address, 0));
  await owner.waitForURL((url) => url.pathname === "/settings");

  // The phone is lost. Eight digits are accepted only after support has sent a code.
  const page = await newBrowser();
  await askForCode(page);
  await type(page, "1234 5678");
  await shows(page, "six digits");
  const before = (await letters(address)).length;
  const asked = await support("POST", "/v1/support/cases", {
    user: "ada", action: "send_recovery_code", reason: "lost her phone", evidence: ["id_card"], agent: "kim",
  });
  assert.equal(asked.status, 201);
  const letter = await poll(async () => (await letters(address)).find((l, i, all) => all.length > before && /^\d{8} /.test(l.subject)), "the code");
  await shot(page, "code-from-support");
  await type(page, letter.subject.slice(0, 8));
  await shows(page, "Have you lost this phone?");
  await shot(page, "lost-phone-by-support");
  await page.click("button[value=keep]");
  await shows(page, "Second step: recovery (recovery)");
});
