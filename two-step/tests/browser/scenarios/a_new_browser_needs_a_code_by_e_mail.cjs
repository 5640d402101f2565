"use strict";
const { api, assert, letters, mailedCode, newBrowser, scenario, shot, shows, signIn, stack, type, wrong } = require("./user.cjs");

// Two-step verification is off, and the product requires a code by e-mail from unknown browsers.
scenario(async () => {
  const address = "ada@home.example";
  const session = {
    user: "ada", purpose: "settings", password_at: new Date().toISOString(), return_url: `${stack.demo}shop/settings-done`, email: address,
  };
  assert.equal((await api("POST", "/v1/sessions", session)).status, 201, "the product sends a validated address");

  const page = await newBrowser();
  await signIn(page);
  await shows(page, "Check your e-mail");
  await shows(page, "you are using a new browser or device");
  assert.match(await page.textContent("main"), /a•••@home\.example/);
  assert.equal(await page.locator("input[name=trust]").count(), 0, "trust is not offered");
  assert.equal(await page.locator("a[href$='/ways']").count(), 0, "no other method is offered");
  await shot(page, "new-device");
  const code = await mailedCode(address, 0);
  await type(page, wrong(code));
  await shows(page, "4 tries left");
  await type(page, code);
  await shows(page, "Second step: email (confirm)");

  // The browser is recognised, also after a sign-out from the shop by closing it.
  await page.click("text=Close the browser and come back");
  await signIn(page);
  await shows(page, "Second step: trust (confirm)");
  assert.equal((await letters(address)).length, 1);

  // Another browser is not recognised. A user without an address needs no code.
  const other = await newBrowser();
  await signIn(other);
  await type(other, await mailedCode(address, 1));
  await shows(other, "Second step: email (confirm)");
  const alan = await newBrowser();
  await signIn(alan, "alan", "turing");
  await shows(alan, "The password alone signed you in");
});
