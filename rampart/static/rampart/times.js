// For who wishes it: exact times in the browser's zone. Each page has them in UTC, and says so.
(() => {
  "use strict";
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const two = (number) => String(number).padStart(2, "0");

  const offset = (moment) => {
    const minutes = -moment.getTimezoneOffset();
    const size = Math.abs(minutes);
    return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
  };
  const iso = (moment) => {
    const day = [moment.getFullYear(), two(moment.getMonth() + 1), two(moment.getDate())].join("-");
    const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(":");
    return { day, time, offset: offset(moment) };
  };
  const turn = (shown) => {
    const moment = new Date(shown.dateTime);
    if (Number.isNaN(moment.getTime())) return;
    const local = iso(moment);
    if (shown.classList.contains("exact")) shown.textContent = `${local.day} ${local.time} ${local.offset}`;
    else shown.title = `${local.day}T${local.time}${local.offset}`;
  };
  const turnAll = (within) => within.querySelectorAll("time[datetime]").forEach(turn);

  turnAll(document);
  document.querySelectorAll("[data-zone]").forEach((name) => { name.textContent = `your browser's zone (${zone})`; });
  // Parts of a page may be fetched anew.
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) if (node instanceof Element) turnAll(node.parentElement ?? node);
    }
  }).observe(document.body, { childList: true, subtree: true });
})();
