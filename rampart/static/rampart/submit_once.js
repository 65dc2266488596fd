// A second click would ask twice. The server refuses that, but a sentence to read is no help here.
(() => {
  "use strict";
  const form = document.querySelector("form[data-once]");
  if (!form) return;
  const buttons = () => [...form.querySelectorAll("button")];
  let closed = [];
  buttons().forEach((button) => { button.disabled = false; }); // Some browsers remember it over a reload.
  form.addEventListener("submit", () => {
    closed = buttons().filter((button) => !button.disabled);
    closed.forEach((button) => { button.disabled = true; });
  });
  // Back from the memory of the browser, what was closed here is open again, and only that.
  window.addEventListener("pageshow", () => {
    closed.forEach((button) => { button.disabled = false; });
  });
})();
