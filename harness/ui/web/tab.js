// The tab "Invariants" of Locust's web UI: race draws it, this puts it in its place and keeps it fresh.
(() => {
  "use strict";
  const EVERY_MS = 1000;
  const place = document.createElement("div");
  place.id = "race-invariants";
  const root = place.attachShadow({ mode: "open" });
  const hide = document.createElement("style");
  // No host is asked for: race brings the stores.
  hide.textContent = '.MuiFormControl-root:has(> * > input[name="host"]) { display: none !important; }';
  document.head.append(hide);
  let shown = 0, last = "", busy = false;

  const note = document.createElement("div");
  note.id = "race-refused";
  note.setAttribute("role", "alert");
  note.style.cssText =
    "position: fixed; bottom: 24px; left: 50%; transform: translateX(-50%); max-width: 90vw; z-index: 2000;" +
    " padding: 12px 20px; border-radius: 4px; background: #5f2120; color: #fff; font: 16px sans-serif;";
  note.hidden = true;
  document.body.append(note);
  // Locust shows why a test cannot start, but not why a running one cannot be edited.
  const watch = async (answer) => {
    if (!new URL(answer.url).pathname.endsWith("/swarm")) return;
    const told = await answer.json();
    note.hidden = true;
    note.textContent = "";
    if (told.success) return;
    await new Promise((done) => setTimeout(done, 400));
    if (document.querySelector(".MuiAlert-root")?.textContent.includes(told.message)) return;
    note.textContent = told.message;
    note.hidden = false;
    setTimeout(() => (note.hidden = true), 15000);
  };
  const ask = window.fetch;
  window.fetch = async (...given) => {
    const answer = await ask(...given);
    watch(answer.clone()).catch(() => {});
    return answer;
  };

  const selected = () => {
    const tab = document.querySelector('[role="tab"][aria-selected="true"]');
    return tab !== null && tab.textContent.trim().toLowerCase() === "invariants" ? tab : null;
  };

  const dark = () => {
    const parts = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g) || [255, 255, 255];
    return Number(parts[0]) + Number(parts[1]) + Number(parts[2]) < 384;
  };

  const opened = new WeakSet();
  // Scenario, strategy, rule and size are what this form is for: they are not folded away.
  const unfold = () => {
    for (const head of document.querySelectorAll(".MuiAccordionSummary-root")) {
      if (opened.has(head) || !head.textContent.startsWith("Custom parameters")) continue;
      opened.add(head);
      if (head.getAttribute("aria-expanded") === "false") head.click();
    }
  };

  const settle = () => {
    unfold();
    const tab = selected();
    place.hidden = tab === null;
    if (tab === null) return false;
    const container = tab.closest(".MuiContainer-root") || tab.closest("main") || document.body;
    if (place.parentNode !== container) container.append(place);
    place.classList.toggle("dark", dark());
    return true;
  };

  const refresh = async () => {
    if (busy || !settle()) return;
    busy = true;
    try {
      const answer = await fetch(`./race/tab?test=${shown}`, { cache: "no-store" });
      const html = await answer.text();
      if (answer.ok && html !== last) {
        last = html;
        const focused = root.activeElement && root.activeElement.dataset.test;
        root.innerHTML = html;
        if (focused) root.querySelector(`[data-test="${focused}"]`)?.focus();
      }
    } catch {
      // Locust has ended: what was shown stays.
    } finally {
      busy = false;
    }
  };

  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-test]");
    if (button === null) return;
    const newest = root.querySelector("[data-test]").dataset.test;
    shown = button.dataset.test === newest ? 0 : Number(button.dataset.test);
    refresh();
  });
  document.addEventListener("click", () => setTimeout(refresh, 50));
  setInterval(settle, 150);
  setInterval(refresh, EVERY_MS);
})();
