"use strict";
const { api, askForCode, assert, newBrowser, noticeLink, openSettingsByText, scenario, setUp, shot, shows, signInByText, type } =
  require("./user.cjs");

scenario(async () => {
  await setUp(await newBrowser());
  const settings = await newBrowser();
  await signInByText(settings);
  await openSettingsByText(settings);
  const open = await newBrowser();
  const code = await askForCode(open);

  const stop = await newBrowser();
  await stop.goto(await noticeLink("+447700900200", "turned on"));
  await stop.click("main form button");
  await shows(stop, "We ended all open sign-ins and settings");

  // The open sign-in and settings have ended, and the pages show it.
  await type(open, code);
  await shows(open, "Sign-in stopped");
  assert.equal(await open.locator("input[name=code]").count(), 0);
  assert.doesNotMatch(await open.textContent("main"), /in the app/, "this account has no app");
  await shot(open, "denied");
  await settings.reload();
  await shows(settings, "Your settings have closed");
  await shot(settings, "settings-closed");

  // The product gets the event, and the history shows it.
  const alarm = (await api("GET", "/v1/events?limit=100")).body.events.find((e) => e.type === "account.alarm");
  assert.equal(alarm.user, "ada");
  assert.equal(alarm.data.about, "turned_on");
  const later = await newBrowser();
  await signInByText(later);
  await openSettingsByText(later);
  await later.click("a[href='/settings/history']");
  await shows(later, "A change was reported as not made by you, and stopped");
  await shot(later, "history-alarm");
});
