"use strict";
const {
  api, approve, assert, newBrowser, openSettings, poll, saveRecoveryCodes, scenario, shot, shownNumber, shows, signIn, stack, type,
} = require("./user.cjs");

scenario(async () => {
  // A browser and the installed app on a phone.
  const page = await newBrowser();
  await signIn(page);
  await openSettings(page);
  await shows(page, "The Shop app on your phone asks you.");
  await page.click("a[href='/settings/app']");
  await shot(page, "app-set-up");
  const code = await page.locator("#set-up-code").innerText();
  assert.match(code, /^[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}$/);

  const phone = await newBrowser();
  await phone.setViewportSize({ width: 390, height: 780 });
  await phone.goto(`${stack.pages}/app?product=shop`);
  await shows(phone, "Confirm sign-ins");
  await shot(phone, "app-welcome");
  await phone.click("text=Add an account");
  await phone.fill("#code", "AAAA-AAAA");
  await phone.click("text=Continue");
  await shows(phone, "This code is wrong, used or too old.");
  await shot(phone, "app-bad-code");
  await phone.fill("#code", code.toLowerCase());
  await phone.click("text=Continue");
  await shows(phone, "Type this on the settings page");
  await shot(phone, "app-digits");
  const digits = await shownNumber(phone);
  // The code is used, and wrong digits are counted.
  await page.reload();
  await shows(page, "The code was entered in an app.");
  await type(page, digits === "000000" ? "111111" : "000000");
  await shows(page, "That is not the code.");
  await type(page, digits);
  await shows(phone, "Your accounts");
  await saveRecoveryCodes(page);
  await page.click("form[action='/settings/on'] button");
  await shows(page, "Two-step verification is on");
  await shot(phone, "app-ready");

  // The sign-in page shows a number, the app asks for it, and the page continues automatically.
  const browser = await newBrowser();
  await signIn(browser);
  await shows(browser, "Confirm in the app");
  await browser.check("input[name=trust]");
  await shows(phone, "Are you signing in to Shop?");
  await shot(browser, "sign-in-app");
  assert.doesNotMatch(await phone.locator("body").innerText(), /undefined|null|NaN/);
  await shot(phone, "app-asked");
  const shown = await shownNumber(browser);
  await phone.fill("#number", shown === "000000" ? "111111" : "000000");
  await phone.click("text=Approve");
  await shows(phone, "That is not the number. 4 tries left.");
  await phone.fill("#number", shown);
  await phone.click("text=Approve");
  await shows(phone, "Approved");
  await shot(phone, "app-approved");
  await shows(browser, "Second step: app (second)");
  await browser.click("text=Close the browser and come back");
  await signIn(browser);
  await shows(browser, "Second step: trust (trusted)");
  await phone.click("text=Done");

  // The code of the app is also accepted on the page.
  const second = await newBrowser();
  await signIn(second);
  await shows(phone, "Are you signing in to Shop?");
  await phone.click("text=Show a code");
  await shows(phone, "Type this code on the page");
  await shot(phone, "app-code");
  const typed = await shownNumber(phone);
  await second.click("text=Type a code instead");
  await second.fill("input[name=code]", typed);
  await second.press("input[name=code]", "Enter");
  await shows(second, "Second step: app (second)");
  await shows(phone, "Your accounts");

  // Without JavaScript the user presses "Check again", and the checkbox keeps its state.
  const plain = await newBrowser({ javaScriptEnabled: false });
  await signIn(plain);
  await shows(phone, "Are you signing in to Shop?");
  await plain.check("input[name=trust]");
  await plain.click("text=Check again");
  await shows(plain, "Confirm in the app");
  assert.ok(await plain.isChecked("input[name=trust]"), "the app has not approved yet");
  await approve(phone, plain);
  await shows(phone, "Approved");
  await plain.click("text=Check again");
  await shows(plain, "Second step: app (second)");
  await plain.click("text=Close the browser and come back");
  await signIn(plain);
  await shows(plain, "Second step: trust (trusted)");
  await phone.click("text=Done");

  // The private key cannot be exported.
  const exported = await phone.evaluate(async () => {
    const database = await new Promise((done) => { indexedDB.open("two-step").onsuccess = (e) => done(e.target.result); });
    const accounts = await new Promise((done) => { database.transaction("accounts").objectStore("accounts").getAll().onsuccess = (e) => done(e.target.result); });
    database.close();
    const keys = accounts.map((account) => Object.values(account.key).find((part) => part instanceof CryptoKey));
    return Promise.all(keys.map((key) => crypto.subtle.exportKey("jwk", key).then(() => "exported", (e) => e.name)));
  });
  assert.deepEqual(exported, ["InvalidAccessError"]);

  // The requirements of an installable app.
  const manifest = await (await fetch(`${stack.pages}/app/manifest.webmanifest?product=shop`)).json();
  assert.deepEqual([manifest.name, manifest.display, manifest.icons[0].sizes], ["Shop", "standalone", "512x512"]);
  assert.equal((await fetch(`${stack.pages}${manifest.icons[0].src}`)).headers.get("content-type"), "image/png");
  assert.equal((await fetch(`${stack.pages}/app/sw.js`)).headers.get("service-worker-allowed"), "/app");
  assert.equal((await fetch(`${stack.pages}/app?product=nobody`)).status, 404);

  // "It was not me" ends the sign-in, and the product gets the event.
  const attacker = await newBrowser();
  await signIn(attacker);
  await shows(phone, "Are you signing in to Shop?");
  await phone.click("text=It was not me");
  await shows(phone, "Nothing was approved.");
  assert.doesNotMatch(await phone.locator("body").innerText(), /undefined|null|NaN/);
  await shot(phone, "app-denied");
  await shows(attacker, "Sign-in stopped");
  const events = (await api("GET", "/v1/events?limit=100")).body.events;
  assert.equal(events.filter((e) => e.type === "challenge.denied").length, 1);
  await phone.click("text=Done");

  // Without a network the app shows that, and keeps its key.
  await phone.context().setOffline(true);
  await shows(phone, "No connection.");
  await phone.reload();
  await shows(phone, "Your accounts");
  await shot(phone, "app-offline");
  await phone.context().setOffline(false);
  await poll(async () => (await phone.locator(".offline").isHidden()), "the app is online again");
  const third = await newBrowser();
  await signIn(third);
  await shows(phone, "Are you signing in to Shop?");

  // The app notices that its key was removed in the settings.
  await approve(phone, third);
  await shows(third, "Second step: app (second)");
});
