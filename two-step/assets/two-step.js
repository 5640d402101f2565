// Optional enhancements of the pages: countdown, delivery status, code from a text, copy and print, local times.
"use strict";

document.documentElement.classList.add("has-script");

// "You can ask again in 25 s": counts down, then enables the button.
for (const note of document.querySelectorAll("[data-countdown]")) {
  const [seconds, minutes] = note.dataset.units.split(" ");
  const end = Date.now() + Number(note.dataset.countdown) * 1000;
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0 || note.dataset.countdown === "0") {
      note.closest("button").disabled = false;
      note.remove();
      return;
    }
    const wait = left < 60 ? `${left} ${seconds}` : `${Math.ceil(left / 60)} ${minutes}`;
    note.textContent = note.dataset.words.replace("{}", wait);
    setTimeout(tick, ((end - Date.now()) % 1000) + 20);
  };
  tick();
}

// Delivery status, every two seconds until it is final, for at most ten minutes.
for (const box of document.querySelectorAll("[data-status^='/']")) {
  const words = box.querySelector(".status-text");
  const stop = Date.now() + 600000;
  const ask = async () => {
    if (Date.now() > stop) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(box.dataset.status, { headers: { accept: "application/json" }, cache: "no-store" });
        if (!answer.ok && answer.status !== 503) return;
        if (answer.ok) {
          const status = await answer.json();
          if (typeof status.delivery === "string" && status.delivery && words.textContent !== status.delivery) {
            words.textContent = status.delivery;
          }
          if (typeof status.tone === "string") box.dataset.tone = status.tone;
          // The wait ends early if no carrier accepted the text or call.
          if (status.wait_s === 0) {
            for (const note of document.querySelectorAll("[data-countdown]")) note.dataset.countdown = "0";
          }
          // For example, a call replaced the text, so heading and buttons are outdated. No typed text is lost.
          const form = document.querySelector("form[data-otp]");
          const isOther = form && status.channel && status.channel !== form.dataset.otp;
          if (isOther && form.elements.code.value === "") return location.replace(box.dataset.here);
          if (status.done) {
            // The app has answered: submit the form with the current state of the checkbox.
            document.querySelector("[data-when-done]")?.click();
            return;
          }
        }
      } catch {
        // The network is unreachable. The next poll tries again.
      }
    }
    setTimeout(ask, 2000);
  };
  setTimeout(ask, 2000);
}

// WebOTP: the browser offers the code of a text that contains our origin.
const form = document.querySelector("form[data-otp='sms']");
if (form && "OTPCredential" in window) {
  const abort = new AbortController();
  form.addEventListener("submit", () => abort.abort());
  navigator.credentials
    .get({ otp: { transport: ["sms"] }, signal: abort.signal })
    .then((credential) => {
      const field = form.elements.code;
      if (credential && field.value === "") field.value = credential.code;
    })
    .catch(() => {});
}

// A double click submits a form once.
document.addEventListener("submit", (event) => {
  const sent = event.target;
  if (sent.dataset.sent) event.preventDefault();
  sent.dataset.sent = "yes";
  setTimeout(() => delete sent.dataset.sent, 5000);
});
window.addEventListener("pageshow", () => {
  for (const sent of document.querySelectorAll("form[data-sent]")) delete sent.dataset.sent;
});

// Copy and print.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const lines = source.children.length ? [...source.children] : [source];
    const text = lines.map((line) => line.textContent.replaceAll(" ", "")).join("\n");
    await navigator.clipboard.writeText(text);
    const label = button.querySelector("span");
    const before = label.textContent;
    label.setAttribute("role", "status");
    label.textContent = button.dataset.copied;
    setTimeout(() => (label.textContent = before), 3000);
  });
}
for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

// Times in the user's time zone.
for (const time of document.querySelectorAll("time[data-local]")) {
  const format = { dateStyle: "medium", timeStyle: "short" };
  const lang = document.documentElement.lang;
  const region = navigator.languages.find((tag) => tag.startsWith(`${lang}-`)) ?? (lang === "en" ? "en-GB" : lang);
  time.textContent = new Date(time.dateTime).toLocaleString(region, format);
}
