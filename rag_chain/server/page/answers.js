// One question with its answer, from the first sign of life to the verdicts.

import { announce, el, icon, perFrame } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { describe, nameOf, place } from "./sources.js";

const VERDICTS = { verbatim: "quote", supported: "check", unsupported: "warn" };
const TITLES = {
  AuthenticationError: "The model provider refused this server",
  BrokenOff: "The connection broke off",
  EmptyStoreError: "There are no documents yet",
  FingerprintError: "The documents were ingested with other settings",
  Forbidden: "This key is not for that",
  NotJson: "The question can't be sent",
  Overloaded: "The server is busy",
  ProviderBusyError: "The model is busy",
  ProviderUnreachableError: "The model can't be reached",
  StoreError: "The documents can't be reached",
  TooLarge: "The question is too long",
  TooManyRequests: "Too many questions at once",
  Unauthenticated: "You are signed out",
  Unreachable: "The server can't be reached",
};
const SENTENCE_END = /[.!?…。！？]/;

export class Turn {
  text = "";
  sources = [];
  #status = el("p", { className: "status" });
  #prose = el("div", { className: "prose" });

  constructor({ question, chosen, openSource }) {
    this.question = question;
    this.chosen = chosen;
    this.openSource = openSource;
    this.body = el("div", { className: "answer", aria: { live: "off", busy: "true" } }, this.#status, this.#prose);
    this.element = el("article", { className: "turn" }, this.#buildQuestion(), el("h3", { className: "sr" }, "Answer"), this.body);
    this.view = new MarkdownView(this.#prose, (number) => this.#makeMark(number));
    this.draw = perFrame(() => {
      this.view.show(this.text);
      this.onDraw?.();
    });
    this.#say("Searching the documents");
    announce("Searching the documents");
  }

  /** Take the next part of the stream. */
  take(part) {
    if (part.sources) {
      this.sources = part.sources;
      this.#say(part.sources.length ? `Reading ${count(part.sources.length, "passage")}` : "Nothing was found");
    }
    if (part.answer) {
      this.#status.hidden = Boolean((this.text += part.answer).trim());
      this.draw();
    }
    if (part.citations) this.found = part;
  }

  finish() {
    this.#end();
    const { citations = [], grounded = false, refused = false, removed_citations: removed = 0 } = this.found ?? {};
    this.citations = citations;
    if (refused) this.#showRefusal();
    else {
      this.#showVerdicts();
      this.body.append(this.#buildOverall(grounded, removed));
    }
    if (this.sources.length) this.body.append(this.#buildSources(refused));
    announce(`${this.body.querySelector(".overall").textContent}. ${this.#prose.textContent}`);
  }

  stop() {
    this.#end();
    this.body.append(el("p", { className: "aside" }, icon("stop"), this.text ? "Stopped. The answer is not complete." : "Stopped."));
    announce("Stopped");
  }

  fail(failure, retry) {
    this.#end();
    const again = el("button", { type: "button", className: "secondary", onclick: retry }, icon("retry"), "Try again");
    const title = TITLES[failure.kind] ?? "Something went wrong";
    this.body.append(
      el(
        "div",
        { className: "failure", role: "alert" },
        el("p", { className: "failure-title" }, icon("warn"), title),
        el("p", { className: "failure-text" }, failure.message),
        again,
      ),
    );
  }

  #end() {
    this.draw.now();
    this.view.show(this.text, true);
    this.#status.remove();
    this.body.removeAttribute("aria-busy");
  }

  #say(text) {
    this.#status.replaceChildren(el("span", { className: "pulse" }), text);
  }

  #buildQuestion() {
    const asked = el("div", { className: "asked" }, el("h3", { className: "sr" }, "Question"), el("p", {}, this.question));
    if (this.chosen.length) {
      const names = this.chosen.map(({ name }) => name).join(", ");
      asked.append(el("p", { className: "asked-of" }, icon("filter"), `Only: ${names}`));
    }
    return asked;
  }

  #makeMark(number) {
    const source = this.#source(number);
    if (!source) return undefined;
    const label = `${number}, source: ${nameOf(source)}`;
    const mark = el("button", { type: "button", className: "mark", title: nameOf(source), aria: { label, haspopup: "dialog" } }, String(number));
    mark.dataset.number = number;
    mark.addEventListener("click", () => this.openSource({ source, citation: mark.citation, opener: mark }));
    return mark;
  }

  #source(number) {
    return this.sources.find((source) => source.number === number);
  }

  #showVerdicts() {
    const marks = [...this.#prose.querySelectorAll(".mark")];
    for (const [mark, citation] of align(marks, this.citations)) {
      const { verdict } = citation;
      mark.citation = citation;
      mark.classList.add(verdict);
      mark.append(" ", el("span", { className: "badge" }, icon(VERDICTS[verdict]), verdict));
      mark.setAttribute("aria-label", `${citation.number} ${verdict}, source: ${nameOf(this.#source(citation.number))}`);
    }
  }

  #buildOverall(grounded, removed) {
    const [sign, text] = grounded
      ? ["shield", "Grounded: every sentence is backed by a source"]
      : ["warn", "Not fully supported by the sources"];
    const line = el("p", { className: `overall ${grounded ? "grounded" : "loose"}` }, icon(sign), text);
    if (removed) line.append(el("span", { className: "removed" }, ` · ${count(removed, "citation")} of no source taken out`));
    return line;
  }

  #showRefusal() {
    this.body.classList.add("refused");
    const hint = this.chosen.length ? "Ask all documents, or use other words." : "Try other words, or add the documents that do.";
    const title = el("p", { className: "overall" }, icon("search"), "The documents don’t answer this");
    this.body.prepend(title);
    this.body.append(el("p", { className: "aside" }, hint));
  }

  #buildSources(refused) {
    const cited = new Set(this.citations.map(({ number }) => number));
    const row = (source) => el("li", {}, this.#buildSource(source));
    const used = this.sources.filter(({ number }) => cited.has(number));
    const others = this.sources.filter(({ number }) => !cited.has(number));
    const made = el("section", { className: "sources", aria: { label: "Sources" } });
    if (used.length) made.append(el("h4", {}, "Sources"), el("ul", { className: "source-list" }, ...used.map(row)));
    if (others.length) {
      const title = refused ? `${count(others.length, "passage")} looked at` : `${count(others.length, "more passage")} read, not cited`;
      made.append(el("details", {}, el("summary", {}, title), el("ul", { className: "source-list" }, ...others.map(row))));
    }
    return made;
  }

  #buildSource(source) {
    const about = [describe(source), place(source)].filter(Boolean).join(" · ");
    const button = el(
      "button",
      { type: "button", className: "source-row", aria: { haspopup: "dialog" } },
      el("span", { className: "number" }, String(source.number)),
      el("span", { className: "source-row-text" }, el("span", { className: "source-row-name" }, nameOf(source)), about && el("span", { className: "source-row-place" }, about)),
    );
    const citations = this.citations.filter(({ number }) => number === source.number);
    button.addEventListener("click", () => this.openSource({ source, citations, opener: button }));
    return button;
  }
}

function count(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

/**
 * Yield each mark with the citation that is about it. The server names a source once for each sentence, in order;
 * so where a number is marked more often than cited, marks of one sentence share a citation.
 */
function* align(marks, citations) {
  for (const number of new Set(citations.map((citation) => citation.number))) {
    const cited = citations.filter((citation) => citation.number === number);
    const marked = marks.filter((mark) => Number(mark.dataset.number) === number);
    let next = -1;
    for (const [n, mark] of marked.entries()) {
      const shares = marked.length > cited.length && n > 0 && !SENTENCE_END.test(textBetween(marked[n - 1], mark));
      if (!shares) next = Math.min(next + 1, cited.length - 1);
      yield [mark, cited[next]];
    }
  }
}

function textBetween(one, other) {
  const range = document.createRange();
  range.setStartAfter(one);
  range.setEndBefore(other);
  return range.toString();
}
