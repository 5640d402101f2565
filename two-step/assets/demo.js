// Shows new texts, calls and mail.
const list = document.getElementById("messages");
let shown = "";

function message(to, title, text, state) {
  const box = document.createElement("div");
  box.className = "message";
  const head = document.createElement("b");
  head.textContent = `${title} to ${to}`;
  const body = document.createElement("p");
  body.textContent = text;
  const foot = document.createElement("small");
  foot.textContent = state;
  box.append(head, body, foot);
  return box;
}

async function refresh() {
  try {
    const [phones, mail] = await Promise.all([fetch("/phones").then((r) => r.json()), fetch("/mail").then((r) => r.json())]);
    const fresh = JSON.stringify([phones, mail]);
    if (fresh !== shown) {
      shown = fresh;
      const all = phones.phones.flatMap((p) => p.messages.map((m) => ({ ...m, number: p.number })));
      const boxes = all.map((m) => ({
        at: Date.parse(m.at), seq: m.seq,
        box: message(m.number, m.channel === "voice" ? "Call" : "Text", m.body ?? m.transcript ?? "", m.status ?? ""),
      }));
      const letters = mail.letters.map((l) => ({ at: Date.parse(l.at), seq: 0, box: message(l.to, "Mail", `${l.subject}\n${l.body}`, "") }));
      const newestFirst = [...boxes, ...letters].sort((a, b) => b.at - a.at || b.seq - a.seq);
      if (newestFirst.length > 0) list.replaceChildren(...newestFirst.map((m) => m.box));
    }
  } catch {
    // The demo was stopped.
  }
  setTimeout(refresh, 700);
}
refresh();
