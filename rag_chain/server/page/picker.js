// Which documents are asked: a search that lists them, and a chip for each that was chosen.

import { findDocuments } from "./api.js";
import { byId, el, icon } from "./dom.js";

const PAUSE = 150;

export class Picker {
  #chosen = new Map();
  #button = byId("pick");
  #popover = byId("picker");
  #search = byId("pick-search");
  #asking = null;
  #timer = 0;

  constructor({ onFailure }) {
    this.onFailure = onFailure;
    this.#button.addEventListener("click", () => (this.#popover.hidden ? this.#open() : this.#close()));
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#find(), PAUSE);
    });
    this.#popover.addEventListener("keydown", (event) => this.#onKey(event));
    document.addEventListener("pointerdown", (event) => {
      if (!this.#popover.hidden && !event.target.closest(".picker")) this.#close(false);
    });
    byId("picker").parentElement.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !relatedTarget.closest(".picker")) this.#close(false);
    });
  }

  get chosen() {
    return [...this.#chosen].map(([source, name]) => ({ source, name }));
  }

  clear() {
    this.#chosen.clear();
    this.#show();
  }

  #open() {
    this.#popover.hidden = false;
    this.#button.setAttribute("aria-expanded", "true");
    this.#search.value = "";
    this.#search.focus();
    this.#find();
  }

  #close(returnsFocus = true) {
    this.#popover.hidden = true;
    this.#button.setAttribute("aria-expanded", "false");
    if (returnsFocus) this.#button.focus();
  }

  async #find() {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    try {
      const { documents, total } = await findDocuments(this.#search.value.trim(), asking.signal);
      byId("pick-list").replaceChildren(...documents.map((document) => this.#buildRow(document)));
      byId("pick-state").textContent = tell(documents.length, total, this.#search.value);
    } catch (error) {
      if (asking.signal.aborted) return;
      byId("pick-list").replaceChildren();
      byId("pick-state").textContent = error.message;
      this.onFailure(error);
    }
  }

  #buildRow({ source, title }) {
    const box = el("input", { type: "checkbox", value: source, checked: this.#chosen.has(source) });
    box.addEventListener("change", () => {
      if (box.checked) this.#chosen.set(source, title || source);
      else this.#chosen.delete(source);
      this.#show();
    });
    const name = el("span", { className: "pick-name" }, title || source);
    const path = title && title !== source ? el("span", { className: "pick-source" }, source) : "";
    return el("li", {}, el("label", {}, box, el("span", { className: "pick-text" }, name, path)));
  }

  #show() {
    const many = this.#chosen.size;
    byId("pick-label").textContent = many ? `${many} document${many === 1 ? "" : "s"}` : "All documents";
    this.#button.classList.toggle("active", many > 0);
    byId("chips").replaceChildren(...this.chosen.map((entry) => this.#buildChip(entry)));
  }

  #buildChip({ source, name }) {
    const remove = el("button", { type: "button", aria: { label: `Remove ${name}` } }, icon("close"));
    remove.addEventListener("click", () => {
      this.#chosen.delete(source);
      this.#show();
      this.#button.focus();
    });
    return el("li", { className: "chip", title: source }, el("span", {}, name), remove);
  }

  #onKey(event) {
    const boxes = [...this.#popover.querySelectorAll("input")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      event.preventDefault();
      this.#close();
    } else if (step) {
      event.preventDefault();
      boxes[Math.max(0, Math.min(boxes.length - 1, boxes.indexOf(document.activeElement) + step))].focus();
    } else if (event.key === "Enter") {
      // Not a question yet.
      event.preventDefault();
      if (document.activeElement.type === "checkbox") document.activeElement.click();
    }
  }
}

function tell(shown, total, query) {
  if (!total) return query.trim() ? "No document has this in its name or title." : "There are no documents yet.";
  return shown < total ? `${shown} of ${total} documents; type to find others.` : `${total} document${total === 1 ? "" : "s"}`;
}
