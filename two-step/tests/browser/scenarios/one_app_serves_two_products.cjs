"use strict";
const {
  addToApp, api, approve, assert, newBrowser, openApp, openSettings, saveRecoveryCodes, scenario, shot, shows, signIn, stack,
} = require("./user.cjs");

/** No server is needed there, because the redirect URL has everything that the bank needs. */
const RETURN_URL = "http://localhost/bank";
/** Longer than the app's longest poll. */
const PAST_A_POLL_MS = 27_000;

/** Calls the API as the bank's back end. */
const bank = (method, path, body) => api(method, path, body, stack.keys.bank);

/** The bank's return URL. */
const back = async (page) => new URL((await page.waitForRequest((request) => request.url().startsWith(RETURN_URL))).url());

/** Starts a sign-in at the bank. */
async function signInAtBank() {
  const page = await newBrowser();
  const challenge = await bank("POST", "/v1/challenges", { user: "customer-1", purpose: "sign_in", return_url: RETURN_URL, state: "s", nonce: "n" });
  await page.goto(challenge.body.url);
  await shows(page, "Confirm in the app");
  return page;
}

scenario(async () => {
  // The app belongs to the shop, and the bank's users use the same app.
  const phone = await openApp();
  const shop = await newBrowser();
  await signIn(shop);
  await openSettings(shop);
  await shop.click("a[href='/settings/app']");
  await addToApp(shop, phone);
  await saveRecoveryCodes(shop);
  await shop.click("form[action='/settings/on'] button");
  await shows(shop, "Two-step verification is on");

  const settings = await newBrowser();
  const session = await bank("POST", "/v1/sessions", {
    user: "customer-1", purpose: "set_up", password_at: new Date().toISOString(), return_url: RETURN_URL, state: "s", display_name: "Ada King",
  });
  assert.equal(session.status, 201, JSON.stringify(session.body));
  await settings.goto(session.body.url);
  await settings.click("a[href='/settings/app']");
  await shot(settings, "app-set-up-bank");
  await addToApp(settings, phone);
  assert.equal(await phone.locator("main li").count(), 2);
  await saveRecoveryCodes(settings);
  await settings.click("form[action='/settings/on'] button");
  await shows(settings, "Two-step verification is on");
  await shows(phone, "Bank");
  await shot(phone, "app-two-products");

  // Both products send a request. The app shows one after the other, each with its product.
  const first = await newBrowser();
  await signIn(first);
  await shows(phone, "Are you signing in to Shop?");
  const second = await signInAtBank();
  await approve(phone, first);
  await shows(first, "Second step: app (second)");
  await shows(phone, "Approved");
  await phone.click("text=Done");
  await phone.click("button:has-text('Are you signing in to Bank?')");
  await shows(phone, "Ada King");
  await shot(phone, "app-asked-bank");
  const [url] = await Promise.all([back(second), approve(phone, second)]);
  await phone.click("text=Done");

  // Only the bank can redeem the ticket.
  const ticket = url.searchParams.get("ticket");
  assert.equal((await api("POST", "/v1/tickets/redeem", { ticket })).status, 410);
  const redeemed = await bank("POST", "/v1/tickets/redeem", { ticket });
  assert.equal(redeemed.status, 200, JSON.stringify(redeemed.body));

  // A request after the end of the first poll reaches the app too.
  await new Promise((resolve) => setTimeout(resolve, PAST_A_POLL_MS));
  const later = await signInAtBank();
  await shows(phone, "Are you signing in to Bank?");
  await phone.click("text=It was not me");
  await shows(phone, "Nothing was approved.");
  await shows(later, "Sign-in stopped");
  await phone.click("text=Done");

  // An app that was suspended polls at once when it is opened.
  const asleep = await phone.context().newCDPSession(phone);
  await asleep.send("Page.setWebLifecycleState", { state: "frozen" });
  const woken = await signInAtBank();
  await asleep.send("Page.setWebLifecycleState", { state: "active" });
  await shows(phone, "Are you signing in to Bank?");
  await Promise.all([back(woken), approve(phone, woken)]);
});
