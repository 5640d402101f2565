// Replaces the page's content with what the server sends. Without this script the page reloads itself.
'use strict';
const status = document.getElementById('status');
const announcement = document.getElementById('announcement');
const verdict = () => status.querySelector('.verdict').textContent;
let told = verdict();
const live = new EventSource('/live' + location.search);
live.onmessage = (event) => {
  const focused = document.activeElement && document.activeElement.id;
  const scrolled = [...status.querySelectorAll('.scroll')].map((table) => table.scrollLeft);
  status.innerHTML = event.data;
  [...status.querySelectorAll('.scroll')].forEach((table, n) => { table.scrollLeft = scrolled[n] || 0; });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  document.body.classList.remove('off');
  document.title = (status.querySelector('.verdict.fine') ? 'Codes arrive' : 'Look here') + ' · otpost';
  // Screen readers read only what has changed.
  if (verdict() !== told) announcement.textContent = told = verdict();
};
live.onerror = () => document.body.classList.add('off');
