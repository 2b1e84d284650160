// Documents that are added: one at a time, in order, each with a row that says how far it is.

import { upload } from "./api.js";
import { announce, byId, el, icon } from "./dom.js";

const SIGNS = { added: "check", changed: "check", unchanged: "check", refused: "warn", failed: "warn" };
const WORDS = { added: "Added", changed: "Changed", unchanged: "Unchanged", refused: "Refused", failed: "Not added" };

export class Uploads {
  #waiting = [];
  #busy = false;
  #allowed = false;
  #depth = 0;

  constructor({ onDone, onFailure }) {
    this.onDone = onDone;
    this.onFailure = onFailure;
    byId("add").addEventListener("click", () => byId("files").click());
    byId("files").addEventListener("change", () => {
      this.#add([...byId("files").files].map((file) => ({ file })));
      // So that the same file can be chosen again.
      byId("files").value = "";
    });
    byId("uploads-close").addEventListener("click", () => this.#clear());
    this.#takeDrops();
  }

  set allowed(allowed) {
    this.#allowed = allowed;
    byId("add").hidden = byId("hint-upload").hidden = !allowed;
  }

  /** Forget what waits, as when somebody else signs in. */
  clear() {
    this.#waiting = [];
    byId("upload-rows").replaceChildren();
    byId("uploads").hidden = true;
  }

  #takeDrops() {
    const holdsFiles = (event) => this.#allowed && event.dataTransfer?.types.includes("Files");
    const show = (shown) => (byId("drop").hidden = !shown);
    addEventListener("dragenter", (event) => holdsFiles(event) && show(++this.#depth > 0));
    addEventListener("dragleave", (event) => holdsFiles(event) && show(--this.#depth > 0));
    addEventListener("dragover", (event) => {
      // A file that is dropped where it is not wanted would replace the page.
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    });
    addEventListener("drop", (event) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
      show((this.#depth = 0));
      if (holdsFiles(event)) this.#add([...event.dataTransfer.items].flatMap(readItem));
    });
  }

  #add(entries) {
    for (const { file, isFolder } of entries) {
      const row = new Row(file.name);
      byId("upload-rows").append(row.element);
      if (isFolder) row.end("refused", "A folder can't be added: drop the files in it.");
      else this.#waiting.push({ file, row });
    }
    byId("uploads").hidden = !byId("upload-rows").children.length;
    this.#work();
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#waiting.length) await this.#take(this.#waiting.shift());
    this.#busy = false;
  }

  async #take({ file, row }) {
    row.element.scrollIntoView({ block: "nearest" });
    try {
      const { state, reason, chunks } = await upload(file, row);
      row.end(state, state === "refused" ? reason : tellChunks(chunks));
    } catch (error) {
      row.end("failed", error.message, () => {
        row.wait();
        this.#waiting.push({ file, row });
        this.#work();
      });
      this.onFailure(error);
    }
    this.onDone();
  }

  #clear() {
    for (const row of [...byId("upload-rows").children]) if (row.dataset.state in WORDS) row.remove();
    byId("uploads").hidden = !byId("upload-rows").children.length;
    byId("question").focus();
  }
}

class Row {
  #state = el("span", { className: "row-state" });
  #detail = el("span", { className: "row-detail" });
  #bar = el("progress", { max: 1 });

  constructor(name) {
    this.name = name;
    this.element = el("li", {}, el("span", { className: "row-name" }, icon("document"), el("span", {}, name)), this.#state, this.#bar, this.#detail);
    this.#bar.setAttribute("aria-label", name);
    this.wait();
  }

  wait() {
    this.#show("waiting", "Waiting");
    this.#bar.value = 0;
    this.#bar.hidden = true;
    this.#detail.replaceChildren();
  }

  onSent = (share) => {
    this.#bar.hidden = false;
    if (share < 1) {
      this.#bar.value = share;
      this.#show("uploading", `Uploading ${Math.round(100 * share)} %`);
    } else {
      // How much there will be is known only when it has been read.
      this.#bar.removeAttribute("value");
      this.#show("reading", "Reading");
    }
  };

  onProgress = ({ chunks }) => this.#show("reading", `Reading: ${tellChunks(chunks)}`);

  end(state, detail, retry) {
    this.#bar.hidden = true;
    this.#show(state, icon(SIGNS[state] ?? "check"), WORDS[state] ?? state);
    this.#detail.replaceChildren(detail);
    if (retry) this.#detail.append(" ", el("button", { type: "button", className: "link", onclick: retry }, "Try again"));
    announce(`${this.name}: ${WORDS[state] ?? state}. ${detail}`);
  }

  #show(state, ...text) {
    this.element.dataset.state = state;
    this.#state.replaceChildren(...text);
  }
}

function readItem(item) {
  const file = item.getAsFile();
  return file ? [{ file, isFolder: item.webkitGetAsEntry?.()?.isDirectory }] : [];
}

function tellChunks(chunks) {
  return `${chunks} passage${chunks === 1 ? "" : "s"}`;
}
