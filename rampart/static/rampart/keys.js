// The keyboard for the queue and for the page of one call. Keys lead to places, they never decide.
(() => {
  "use strict";
  const { keys: wish, queue: queueUrl } = document.currentScript.dataset;
  if (wish === "off") return;
  const WALK = "rampart-walk";
  const help = document.getElementById("keys");
  const page = document.querySelector(".approval-page");
  const links = () => [...document.querySelectorAll("#result_list a.sentence")];

  const isTyping = (target) => target.isContentEditable
    || target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=submit])");

  // On a call's page, next and before are those of the list from which it was opened.

  const walked = () => {
    try { return JSON.parse(sessionStorage.getItem(WALK)) || []; } catch { return []; }
  };
  const remember = () => {
    try { sessionStorage.setItem(WALK, JSON.stringify(links().map((link) => link.getAttribute("href")))); } catch { /* A private window keeps nothing. */ }
  };

  const step = (by) => {
    if (page) {
      const list = walked();
      const here = list.indexOf(location.pathname);
      location.href = (here >= 0 && list[here + by]) || queueUrl;
      return;
    }
    const list = links();
    const here = list.findIndex((link) => link.closest("li").contains(document.activeElement));
    const next = list[here < 0 ? 0 : Math.min(Math.max(here + by, 0), list.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  };

  const current = () => links().find((link) => link.closest("li").contains(document.activeElement));
  const open = (part = "") => {
    const link = current();
    if (link) { remember(); location.href = link.href + part; }
  };
  const unfold = () => {
    const folded = [...document.querySelectorAll("main details")];
    const isOpen = folded.some((one) => !one.open);
    folded.forEach((one) => { one.open = isOpen; });
  };

  const approve = () => document.querySelector("dialog[data-confirms=a]")?.showModal();
  const reject = () => document.querySelector("textarea[name=reason_to_agent]")?.focus();
  const search = () => {
    const box = document.querySelector(".filters input[name=q]");
    if (box) box.focus();
    else location.href = `${queueUrl}#search`;
  };

  const does = {
    j: () => step(1),
    k: () => step(-1),
    o: () => (page ? unfold() : open()),
    a: () => (page ? approve() : open("#approve")),
    r: () => (page ? reject() : open("#reject")),
    "/": search,
    "?": () => help.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    const isOurs = Object.hasOwn(does, event.key) && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (!isOurs || event.repeat || document.querySelector("dialog[open]") || isTyping(event.target)) return;
    event.preventDefault();
    does[event.key]();
  });
  document.getElementById("result_list")?.addEventListener("click", remember);
  ({ "#approve": approve, "#reject": reject, "#search": search })[location.hash]?.();
})();
