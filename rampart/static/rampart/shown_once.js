// The page of a new key, which is whole without this: here one press copies the key, the first call
// turns a line green, and who leaves before either is warned. Once left, the page has no key.
(() => {
  "use strict";
  const EVERY = 2000;
  const MOST = 10 * 60 * 1000; // A page left open is no reason to keep a session alive.
  const secret = document.querySelector("pre.secret");
  const button = document.querySelector("button.copy");
  const line = document.querySelector(".first-call");
  if (!secret || !button) return;
  let text = secret.textContent;
  let isSafe = false;

  const copied = () => { isSafe = true; button.textContent = "Copied"; };
  const copyTheOldWay = () => {
    window.getSelection().selectAllChildren(secret);
    if (document.execCommand("copy")) copied();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    if (!navigator.clipboard) { copyTheOldWay(); return; } // It is there on https and localhost only.
    navigator.clipboard.writeText(text).then(copied, copyTheOldWay);
  });
  document.addEventListener("copy", () => {
    if (String(window.getSelection()).includes(text)) copied();
  });

  window.addEventListener("beforeunload", (event) => { if (!isSafe) event.preventDefault(); });
  window.addEventListener("pagehide", () => {
    text = "";
    button.hidden = true;
    secret.textContent = "It was shown once.";
  });

  const say = (sign, words) => {
    line.querySelector(".sign").textContent = sign;
    line.querySelector(".words").textContent = words;
  };
  const look = async () => {
    if (performance.now() > MOST) { say("○", "Waited for ten minutes."); return; }
    try {
      if (!document.hidden) {
        const answer = await fetch(line.dataset.used, { cache: "no-store", redirect: "manual" });
        if (answer.status < 500 && !answer.ok) { say("○", "No longer waiting: sign in again."); return; }
        if ((await answer.json()).used) {
          isSafe = true;
          line.classList.add("come");
          say("✓", "The first call has come.");
          return;
        }
      }
    } catch { /* The server may be back the next time. */ }
    setTimeout(look, EVERY);
  };
  if (line) setTimeout(look, EVERY);
})();
