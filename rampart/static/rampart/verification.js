// Tells how far a verification is, and shows what it has found as soon as it is over.
// Without this, the page says how far it was when it was loaded.
(() => {
  "use strict";
  const region = document.getElementById("verification");
  if (!region || !region.dataset.pulse) return;
  const EVERY = 1000;
  const news = document.getElementById("verification-news");

  const say = (text) => { if (news.textContent !== text) news.textContent = text; };

  const load = async () => {
    const answer = await fetch(location.href, { cache: "no-store", redirect: "manual" });
    if (!answer.ok) throw new Error();
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };

  const tell = (told) => {
    const [bar, words] = [document.getElementById("progress"), document.getElementById("so-far")];
    if (told.total !== null) { bar.max = told.total; bar.value = told.seen; }
    words.textContent = `${told.seen}${told.total === null ? "" : ` of ${told.total}`} leaves`;
  };

  const showAnew = async () => {
    const fresh = (await load()).getElementById("verification");
    region.replaceChildren(...fresh.childNodes);
  };

  const look = async () => {
    try {
      const answer = await fetch(region.dataset.pulse, { cache: "no-store", redirect: "manual" });
      if (!answer.ok) throw new Error();
      const told = await answer.json();
      if (told.is_over) {
        await showAnew();
        say("The verification is over.");
        return;
      }
      if (told.has_begun && !document.getElementById("progress")) await showAnew();
      if (told.has_begun) tell(told);
      say("");
    } catch { say("The server does not answer, or you have to sign in again."); }
    setTimeout(look, EVERY);
  };
  setTimeout(look, EVERY);
})();
