// Keeps the page up to date while somebody looks at it, and filters as they type. It fetches the
// same page, and replaces the regions that have changed. The page works without it.
"use strict";

const live = document.getElementById("live");
const form = document.querySelector("form[data-instant]");
const message = document.getElementById("message");
let latest = 0;

async function refresh() {
  const number = ++latest;
  let answer, page;
  try {
    answer = await fetch(location.href);
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // the network or the service is away: the next time may do
  }
  if (number !== latest) return;
  if (answer.redirected) return location.assign(answer.url);
  if (message) message.textContent = answer.ok ? "" : page.querySelector("main p")?.textContent;
  if (!answer.ok) return;
  document.body.dataset.live = page.body.dataset.live ?? "";
  for (const old of document.querySelectorAll("[data-region]")) {
    const fresh = page.getElementById(old.id);
    // What somebody uses right now stays as it is.
    if (fresh && !old.querySelector("details[open], :focus-visible")) old.replaceWith(fresh);
  }
}

function tick() {
  const isWanted = live?.checked && document.body.dataset.live && !document.hidden;
  if (isWanted && getSelection().isCollapsed) refresh();
}

if (document.body.dataset.live) {
  live.parentElement.hidden = false;
  setInterval(tick, 1000 * document.body.dataset.live);
  document.addEventListener("visibilitychange", tick);
}

if (form) {
  let timer;
  const apply = () => {
    clearTimeout(timer);
    const fields = [...new FormData(form)].filter(([, value]) => value);
    history.replaceState(null, "", `${location.pathname}?${new URLSearchParams(fields)}`);
    refresh();
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 250);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
}
