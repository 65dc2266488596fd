// Keeps the queue fresh: asks whether it has changed, and puts the new list in the place of the old
// without taking ticks, focus or place away. Without this, the page is as good as when it was loaded.
(() => {
  "use strict";
  const queue = document.querySelector("form[data-pulse]");
  if (!queue) return;
  const EVERY = Number(queue.dataset.every || 20) * 1000;
  const live = document.getElementById("queue-live");
  const news = document.getElementById("queue-news");
  let asked = performance.now();
  let version = `"${queue.dataset.version}"`;

  const say = (text, isBad = false) => {
    if (news.textContent !== text) news.textContent = text;
    news.classList.toggle("bad", isBad);
  };

  // The count in the tab, as title and as picture.

  const icon = (count) => {
    const link = document.querySelector('link[rel="icon"]');
    if (!link || !parseInt(count, 10)) return;
    const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#a41515";
    pen.arc(16, 16, 16, 0, 7);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.font = `bold ${count.length > 2 ? 14 : 20}px sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(count, 16, 17);
    link.href = canvas.toDataURL();
  };

  const count = (yours) => {
    if (yours === undefined) return;
    for (const shown of [document.querySelector("title"), document.getElementById("tab-yours")]) {
      shown.textContent = shown.textContent.replace(/\(\d+\+?\)/, `(${yours})`);
    }
    icon(yours);
  };

  // The time that is left. It counts from the server's own figures.

  let began = performance.now();
  const words = (seconds) => {
    for (const [unit, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= unit) return `in ${Math.floor(seconds / unit)} ${word}`;
    }
    return "in less than a minute";
  };
  const tellTimes = () => {
    for (const counter of live.querySelectorAll(".countdown[data-left]")) {
      const left = Number(counter.dataset.left) - (performance.now() - began) / 1000;
      counter.querySelector("time").textContent = left > 0 ? words(left) : "now: its time is over";
      const tick = left > 0 ? null : counter.closest("li").querySelector("input");
      if (tick) { tick.checked = false; tick.disabled = true; }
    }
    tellTicks();
  };

  const ticks = () => [...live.querySelectorAll("input[name=item]:checked")];
  const tellTicks = () => {
    const button = live.querySelector("[data-review]");
    if (button) button.textContent = `Review what is ticked (${ticks().length})`;
  };

  // A new list in the place of the old one.

  const anchorOf = () => document.activeElement.closest("#queue-live li")
    || [...live.querySelectorAll("li.queue-row")].find((row) => row.getBoundingClientRect().bottom > 0);

  const replace = (fresh) => {
    const kept = new Set(ticks().map((tick) => tick.value));
    const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
    const anchor = anchorOf();
    const [place, top] = anchor ? [anchor.id, anchor.getBoundingClientRect().top] : ["", 0];
    live.replaceChildren(...fresh.childNodes);
    for (const tick of live.querySelectorAll("input[name=item]")) tick.checked = kept.delete(tick.value);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    const again = place && document.getElementById(place);
    if (again) window.scrollBy(0, again.getBoundingClientRect().top - top);
    began = performance.now();
    tellTimes();
    const off = kept.size ? ` ${kept.size} ticked ${kept.size > 1 ? "calls are" : "call is"} not what was shown any more.` : "";
    say(`The list has changed.${off}`);
  };

  const load = async () => {
    live.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "manual" });
      if (!answer.ok) throw new Error();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [fresh, form] = [page.getElementById("queue-live"), page.getElementById("queue")];
      version = `"${form.dataset.version}"`;
      replace(fresh);
      count(form.dataset.yours);
    } finally { live.removeAttribute("aria-busy"); }
  };

  const look = async () => {
    asked = performance.now();
    try {
      const answer = await fetch(queue.dataset.pulse, {
        cache: "no-store", redirect: "manual", headers: { "If-None-Match": version },
      });
      if (answer.type === "opaqueredirect" || answer.status === 403) {
        say("This list is not kept up to date any more: sign in again.", true);
        return;
      }
      if (answer.status === 200) await load();
      else if (answer.status !== 304) throw new Error();
      else if (news.classList.contains("bad")) say("");
    } catch { say("The server does not answer; the list may be out of date.", true); }
  };

  setInterval(() => {
    tellTimes();
    if (!document.hidden && performance.now() - asked >= EVERY - 500) look();
  }, EVERY);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && performance.now() - asked >= EVERY) look();
  });
  live.addEventListener("change", tellTicks);
  tellTimes();
  count(queue.dataset.yours);
})();
