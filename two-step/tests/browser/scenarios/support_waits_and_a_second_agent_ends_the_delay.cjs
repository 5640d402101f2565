"use strict";
const { api, askForCode, assert, newBrowser, noticeLink, openSettings, openSettingsByText, poll, scenario, setUp, shot, shows, signIn, signInByText, support } =
  require("./user.cjs");

// A due case is carried out within a minute.
const CASE_MS = 75_000;

const turnOff = { user: "ada", action: "turn_off", reason: "lost her phone", evidence: ["id_card"], agent: "kim" };
const stateOf = async (id) => (await support("GET", "/v1/support/cases?user=ada")).body.cases.find((c) => c.id === id).state;

scenario(async () => {
  await setUp(await newBrowser());
  const owner = await newBrowser();
  await signInByText(owner);
  await openSettingsByText(owner);

  // Support opens a case. All methods get a notice, and the case waits for a day.
  const first = await support("POST", "/v1/support/cases", turnOff);
  assert.equal(first.status, 201);
  assert.equal(first.body.state, "waiting");
  const delay_h = (Date.parse(first.body.due_at) - Date.parse(first.body.asked_at)) / 3_600_000;
  assert.equal(delay_h, 24);
  const link = await noticeLink("+447700900200", "Support was asked");
  await owner.reload();
  await shows(owner, "Support will turn off two-step verification");
  await shot(owner, "settings-support-waits");
  await askForCode(await newBrowser());

  // The stop page of the notice ends the case.
  const stop = await newBrowser();
  await stop.goto(link);
  await shows(stop, "Support was asked for help");
  await shot(stop, "stop-support");
  await stop.click("main form button");
  await shows(stop, "Stopped");
  await shot(stop, "stopped-support");
  assert.equal(await stateOf(first.body.id), "stopped");
  assert.equal((await api("GET", "/v1/users/ada")).body.state, "on");

  // A second agent ends the delay of the next case. The first one cannot.
  const second = await support("POST", "/v1/support/cases", turnOff);
  assert.equal(second.body.state, "waiting");
  const approve = (agent) => support("POST", `/v1/support/cases/${second.body.id}/approve`, { agent });
  assert.ok((await approve("Kim")).status >= 400, "one agent cannot approve their own case");
  assert.equal((await api("GET", "/v1/users/ada")).body.state, "off_due");
  assert.equal((await approve("sam")).status, 200);
  await poll(async () => (await stateOf(second.body.id)) === "done", "the case", CASE_MS);
  const page = await newBrowser();
  await signIn(page);
  await shows(page, "The password alone signed you in");

  // The phone was kept, and support can undo its action.
  await openSettings(page);
  await shows(page, "Turn it on again");
  await shot(page, "off-by-support");
  assert.equal((await support("POST", "/v1/support/cases", { ...turnOff, action: "turn_on" })).body.state, "done");
  await askForCode(await newBrowser());
});
