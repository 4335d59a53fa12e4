// Keeps an open page true: follows the stream, fetches the parts that changed, counts the clocks.
// Everything works without it; every word it shows comes with the page.
"use strict";

(() => {
  const body = document.body;
  const words = body.dataset;
  const WIDE = window.matchMedia("(min-width: 1151px)");
  const SETTLE_MS = 250; // events come in bursts; one look at the end of a burst is enough
  const RETRY_MS = 2000;
  const DEAF_MS = 10000; // the server spoke so long ago and the stream did not tell: it is dead

  // ---- time ----
  // The server's clock decides; a console's own may be minutes off.
  let serverAhead = 0;
  const now = () => Date.now() + serverAhead;
  const fill = (template, n) => template.replace("{n}", String(n));
  const two = (n) => String(n).padStart(2, "0");

  function age(ms) {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return fill(words.ageSeconds, s);
    if (s < 3600) return fill(words.ageMinutes, Math.floor(s / 60));
    if (s < 86400) return fill(words.ageHours, Math.floor(s / 3600));
    return fill(words.ageDays, Math.floor(s / 86400));
  }

  function span(ms) {
    const s = Math.floor(Math.abs(ms) / 1000);
    const days = Math.floor(s / 86400), hours = Math.floor((s % 86400) / 3600);
    const minutes = Math.floor((s % 3600) / 60), seconds = s % 60;
    if (days) return `${fill(words.days, days)} ${two(hours)}:${two(minutes)}`;
    return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${two(minutes)}:${two(seconds)}`;
  }

  function write(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  let lastEvent = 0;
  function tick() {
    for (const element of document.querySelectorAll("[data-due]")) {
      const left = Date.parse(element.dataset.due) - now();
      write(element, span(left));
      element.classList.toggle("late", left < 0);
      element.closest(".tile")?.classList.toggle("late", left < 0);
    }
    for (const element of document.querySelectorAll("[data-age]")) {
      write(element, age(now() - Date.parse(element.dateTime)));
    }
    const last = document.getElementById("last-event");
    const at = Math.max(lastEvent, Date.parse(last.dataset.at ?? "") || 0);
    if (at) write(last, age(now() - at));
  }

  // ---- parts of the page ----
  // Only what differs is replaced, so that focus, scrolling, open forms and half-written notes stay.
  function same(a, b) {
    return a.isEqualNode(b);
  }

  function morph(old, fresh) {
    const keyed = new Map();
    for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
    if (!keyed.size && !fresh.querySelector(":scope > [data-key]")) return false;
    let place = old.firstElementChild;
    for (const child of [...fresh.children]) {
      const key = child.dataset.key;
      const before = key ? keyed.get(key) : null;
      if (!before) {
        if (key && old.hasAttribute("data-rows")) child.classList.add("new");
        old.insertBefore(document.adoptNode(child), place);
        continue;
      }
      keyed.delete(key);
      if (before !== place) old.insertBefore(before, place);
      else place = place.nextElementSibling;
      if (!same(before, child)) update(before, child);
    }
    for (const gone of keyed.values()) gone.remove();
    while (place) {
      const next = place.nextElementSibling;
      if (!place.dataset.key) place.remove();
      place = next;
    }
    return true;
  }

  // Keep the element (it may have the focus), take over its attributes and content.
  function update(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.hasAttribute("data-keep"))) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const children = [...fresh.childNodes];
    if (morph(old, fresh)) return;
    if (old.childNodes.length !== children.length) {
      old.replaceChildren(...children.map((child) => document.adoptNode(child)));
      return;
    }
    children.forEach((child, index) => {
      const before = old.childNodes[index];
      if (same(before, child)) return;
      if (before.nodeType === 1 && child.nodeType === 1 && before.tagName === child.tagName) update(before, child);
      else before.replaceWith(document.adoptNode(child));
    });
  }

  function busyWith(element) {
    const focused = document.activeElement;
    return element.contains(focused) && /^(TEXTAREA|INPUT|SELECT)$/.test(focused.tagName);
  }

  function show(id, fresh) {
    const element = document.getElementById(id);
    if (busyWith(element)) {
      wanted.add(id); // later: somebody is writing there
      return;
    }
    const holder = element.cloneNode(false);
    holder.append(...fresh.childNodes);
    update(element, holder);
    tick();
  }

  function parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }

  function address(part) {
    const url = new URL(location.href);
    if (part) url.searchParams.set("part", part);
    return url;
  }

  async function get(url) {
    const started = Date.now();
    const response = await fetch(url, { headers: { Accept: "text/html" }, redirect: "follow" });
    if (response.status === 401) {
      location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
      throw new Error("signed out");
    }
    const said = Date.parse(response.headers.get("Date") ?? "");
    // The Date header is whole seconds; only a clock that is really off is corrected.
    if (!Number.isNaN(said)) {
      const off = said + 500 - (started + Date.now()) / 2;
      serverAhead = Math.abs(off) > 2000 ? off : 0;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.text();
  }

  const wanted = new Set();
  let running = false, timer = 0;
  const ready = () => [...wanted].filter((part) => !busyWith(document.getElementById(part)));

  function refresh(...parts) {
    for (const part of parts) wanted.add(part);
    schedule(SETTLE_MS);
  }

  function schedule(ms) {
    if (!timer && !running) timer = setTimeout(run, ms);
  }

  async function run() {
    timer = 0;
    running = true;
    const batch = ready();
    batch.forEach((part) => wanted.delete(part));
    let pause = SETTLE_MS;
    try {
      for (const part of batch) {
        const asked = location.href;
        const before = [...opened]; // what opens while the answer is under way may not be in it
        const html = await get(address(part));
        if (asked !== location.href) continue;
        show(part, parse(html));
        if (part === "list") announce(before);
      }
      reached(true);
    } catch {
      batch.forEach((part) => wanted.add(part));
      pause = RETRY_MS;
      reached(false);
    } finally {
      running = false;
    }
    if (ready().length) schedule(pause);
  }

  // ---- the stream ----
  const opened = new Set(); // tickets to tell a screen reader about, once their rows are there

  function announce(tickets) {
    for (const id of tickets) {
      opened.delete(id);
      const row = document.querySelector(`.row[data-ticket="${CSS.escape(id)}"]`);
      if (!row) continue;
      const number = row.querySelector(".number").textContent.split("·")[0].trim();
      const what = row.querySelector(".what").textContent;
      write(document.getElementById("announce"), words.opened.replace("{number}", number).replace("{category}", what));
    }
  }

  function state(name) {
    const element = document.getElementById("stream");
    element.dataset.state = name;
    write(element.querySelector("b"), words[name]);
  }

  function heard(event) {
    lastEvent = now();
    let news = {};
    try {
      news = JSON.parse(event.data);
    } catch {
      return;
    }
    if (event.type === "ticket.opened") opened.add(news.ticket_id);
    if (event.type.startsWith("storm.") || event.type === "reset") refresh("storm");
    refresh("list", "map");
    const open = document.querySelector("[data-ticket-open]")?.dataset.ticketOpen;
    if (!open || open === news.ticket_id || event.type === "reset") refresh("detail");
  }

  let stream = null, openSince = 0;

  function follow() {
    state("connecting");
    stream?.close();
    const mine = stream = new EventSource(words.stream);
    mine.onopen = () => {
      openSince = now();
      state("live");
      refresh("list", "map", "detail", "status", "storm"); // what happened while nobody listened
    };
    mine.onerror = () => {
      state("reconnecting");
      if (mine.readyState === EventSource.CLOSED && mine === stream) setTimeout(follow, RETRY_MS); // it gave up
    };
    for (const kind of ["ticket.opened", "ticket.changed", "incident.opened", "incident.changed", "incident.ended", "incident.joined", "storm.began", "storm.ended", "reset"]) {
      mine.addEventListener(kind, heard);
    }
  }

  // A connection can be dead for minutes before a stream notices; fetching shows it at once.
  function reached(yes) {
    if (!yes) {
      state("reconnecting");
    } else if (stream?.readyState === EventSource.OPEN) {
      state("live");
      const spoke = Date.parse(document.getElementById("last-event").dataset.at ?? "") || 0;
      if (spoke > Math.max(lastEvent, openSince) && now() - spoke > DEAF_MS) follow();
    }
  }

  // ---- choosing and acting without leaving the page ----
  let shown = location.pathname + location.search;

  async function open(url, method, form) {
    const response = await fetch(url, {
      method, redirect: "follow", headers: { Accept: "text/html" },
      body: form ? new URLSearchParams(form) : undefined,
    });
    if (new URL(response.url).pathname === "/sign-in") {
      location.assign(response.url);
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById("detail");
    if (!fresh) throw new Error("no such page");
    const detail = document.getElementById("detail");
    detail.replaceChildren(...fresh.childNodes);
    detail.scrollTop = 0;
    if (!form && response.url !== location.href) history.pushState(null, "", response.url);
    shown = location.pathname + location.search;
    document.title = page.title;
    for (const link of document.querySelectorAll(".who a[hreflang]")) {
      link.href = page.querySelector(".who a[hreflang]").getAttribute("href"); // leads back to where we are now
    }
    body.className = page.body.className;
    mark();
    tick();
    refresh("list", "map");
  }

  function mark() {
    const chosen = document.querySelector("[data-ticket-open]")?.dataset.ticketOpen;
    for (const row of document.querySelectorAll(".row[data-ticket]")) {
      if (row.dataset.ticket === chosen) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-ticket]");
    if (!link || !WIDE.matches || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const url = link.getAttribute("href"); // also of a link inside the drawing
    open(url, "GET").catch(() => location.assign(url));
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-act]")) return;
    event.preventDefault();
    const fields = new FormData(form, event.submitter);
    event.submitter?.setAttribute("disabled", "");
    // Not form.action: that is the field of this name.
    open(form.getAttribute("action"), "POST", fields).catch(() => {
      event.submitter?.removeAttribute("disabled");
      state("reconnecting");
    });
  });

  addEventListener("popstate", () => {
    const target = location.pathname + location.search;
    if (target === shown) return; // only moved within the page
    open(target, "GET").catch(() => location.reload());
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const rows = [...document.querySelectorAll(".row")];
    const at = rows.indexOf(document.activeElement);
    if (at < 0 && document.activeElement !== document.getElementById("list")) return;
    const next = rows[at < 0 ? 0 : at + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });

  tick();
  setInterval(tick, 1000);
  setInterval(() => {
    refresh("status");
    if (document.querySelector("[data-evidence-missing]")) refresh("detail");
  }, 5000);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => event.persisted && follow());
  follow();
})();
