// Refines what the server has written: the page decides just as well without this.
(() => {
  "use strict";
  const buttons = document.querySelector("[data-closes]");
  const shown = document.querySelector(".countdown time");
  if (!buttons && !shown) return;
  const end = Date.parse(buttons ? buttons.dataset.closes : shown.dateTime);

  const words = (seconds) => {
    for (const [unit, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= unit) return `in ${Math.floor(seconds / unit)} ${word}`;
    }
    return "in less than a minute";
  };

  const refresh = () => {
    const left = (end - Date.now()) / 1000;
    if (left > 0) {
      if (shown) shown.textContent = words(left);
      setTimeout(refresh, Math.min(left * 1000 + 50, 20000));
      return;
    }
    if (shown) shown.textContent = "now: the time to decide is over";
    if (buttons) buttons.querySelectorAll("button").forEach((button) => { button.disabled = true; });
  };
  refresh();
})();
