// Saves typing and copying on the page of one call, which is whole without this.
(() => {
  "use strict";

  // A ready-made reason fills the text, and the text is shown as the agent will read it.
  const reason = document.querySelector("[data-previewed]");
  const preview = document.querySelector("[data-preview]");
  if (reason && preview) {
    const show = () => {
      preview.querySelector("pre").textContent = reason.value.trim();
      preview.hidden = !reason.value.trim();
    };
    const preset = document.querySelector("[data-fills]");
    const isOwn = () => {
      const written = reason.value.trim();
      return written && ![...preset.options].some((option) => option.dataset.text?.trim() === written);
    };
    preset?.addEventListener("change", () => {
      const text = preset.selectedOptions[0].dataset.text;
      if (text && !isOwn()) { reason.value = text; show(); }
    });
    reason.addEventListener("input", show);
    show();
  }

  // On the page to which a decision leads, the second half of a double click decides nothing.
  if (document.querySelector(".messagelist .success")) {
    const close = (isClosed) => document.querySelectorAll('[data-closes=""] button[type=submit]')
      .forEach((button) => { button.disabled = isClosed; });
    close(true);
    setTimeout(close, 1000, false);
    const heading = document.querySelector("#content h1");
    heading.tabIndex = -1;
    heading.focus();
  }

  // What scrolls in a box of its own can be reached by keys.
  const reach = () => document.querySelectorAll(".evidence pre.value").forEach((box) => {
    if (box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  document.addEventListener("toggle", reach, true);
  window.addEventListener("resize", reach);
  reach();

  // The question that a key asks before it approves (a form round a dialog can't close it itself).
  document.querySelectorAll("[data-dismisses]").forEach((button) => {
    button.addEventListener("click", () => button.closest("dialog").close());
  });

  // The raw JSON, character for character: fetched, since the page shows some of them as tokens.
  const copied = (button) => { button.textContent = "Copied"; };
  const copyTheOldWay = (button, text) => {
    const area = document.createElement("textarea");
    area.value = text;
    button.after(area);
    area.select();
    if (document.execCommand("copy")) copied(button);
    area.remove();
  };
  document.querySelectorAll("button[data-copies]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const answer = await fetch(button.dataset.copies, { redirect: "error" });
      const text = await answer.text();
      if (!answer.ok) return;
      if (!navigator.clipboard) { copyTheOldWay(button, text); return; } // It is there on https and localhost only.
      navigator.clipboard.writeText(text).then(() => copied(button), () => copyTheOldWay(button, text));
    });
  });

  // What is copied out of a value is the value: tokens become the characters that they stand for.
  document.addEventListener("copy", (event) => {
    const selected = window.getSelection();
    if (!selected.rangeCount || selected.isCollapsed) return;
    const range = selected.getRangeAt(0);
    const around = range.commonAncestorContainer;
    if (!(around.nodeType === Node.ELEMENT_NODE ? around : around.parentElement).closest("pre.value")) return;
    const piece = range.cloneContents();
    piece.querySelectorAll(".hidden-char").forEach((token) => {
      const code = /^\[U\+([0-9A-F]+)/.exec(token.textContent);
      if (code) token.textContent = String.fromCodePoint(parseInt(code[1], 16));
    });
    piece.querySelectorAll("mark.mixed").forEach((mark) => {
      mark.textContent = mark.textContent.replace(/ \[[^\]]*\]$/, "");
    });
    event.clipboardData.setData("text/plain", piece.textContent);
    event.preventDefault();
  });
})();
