// Refines what the server has written: the page decides just as well without this.
// It counts from the server's own figure, since the clock of this machine may be wrong.
(() => {
  "use strict";
  const counter = document.querySelector(".countdown[data-seconds]");
  if (!counter) return;
  const shown = counter.querySelector("time");
  const end = performance.now() + Number(counter.dataset.seconds) * 1000;

  const words = (seconds) => {
    for (const [unit, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= unit) return `in ${Math.floor(seconds / unit)} ${word}`;
    }
    return "in less than a minute";
  };

  // The words are read aloud when they change, and they change once a minute at most.
  const say = (text) => { if (shown.textContent !== text) shown.textContent = text; };

  const refresh = () => {
    const left = (end - performance.now()) / 1000;
    if (left > 0) {
      say(words(left));
      setTimeout(refresh, Math.min(left * 1000 + 50, 20000));
      return;
    }
    say("now: the time to decide is over");
    document.querySelectorAll("[data-closes]").forEach((part) => {
      part.dataset.closes = "for good";
      part.querySelectorAll("button").forEach((button) => { button.disabled = true; });
    });
  };
  refresh();
})();
