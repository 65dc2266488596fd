// A second click would ask twice. The server refuses that, but a sentence to read is no help here.
(() => {
  "use strict";
  const form = document.querySelector("form[data-once]");
  if (!form) return;
  const close = (closed) => form.querySelectorAll("button").forEach((button) => { button.disabled = closed; });
  form.addEventListener("submit", () => close(true));
  window.addEventListener("pageshow", () => close(false));
})();
