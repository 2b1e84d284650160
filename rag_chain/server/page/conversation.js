// The conversation: asks, stops, asks again, and remembers what was said.

import { ask } from "./api.js";
import { Turn } from "./answers.js";
import { byId } from "./dom.js";

// The server takes what fits its prompt, the newest first; more than this would only be sent in vain.
const MOST_TURNS = 20;
const MOST_CHARACTERS = 60_000;
const NEAR_END = 64;

export class Conversation {
  #turns = [];
  #running = null;
  #log = byId("log");
  #follows = true;

  constructor({ openSource, onChange, onFailure }) {
    this.openSource = openSource;
    this.onChange = onChange;
    this.onFailure = onFailure;
    this.#log.addEventListener("scroll", () => this.#noteScroll(), { passive: true });
    byId("latest").addEventListener("click", () => this.#scrollToEnd());
    new ResizeObserver(() => this.#follows && this.#scrollToEnd()).observe(byId("turns"));
    new ResizeObserver(() => this.#follows && this.#scrollToEnd()).observe(this.#log);
  }

  get isRunning() {
    return this.#running !== null;
  }

  get isEmpty() {
    return this.#turns.length === 0;
  }

  async ask(question, chosen) {
    const turn = new Turn({ question, chosen, openSource: this.openSource });
    const input = { question, chat_history: this.#history() };
    if (chosen.length) input.filter = { source: chosen.map(({ source }) => source) };
    const running = new AbortController();
    this.#running = running;
    this.#turns.push(turn);
    byId("turns").append(turn.element);
    this.#scrollToEnd();
    this.onChange();
    try {
      for await (const part of ask(input, running.signal)) turn.take(part);
      turn.finish();
    } catch (error) {
      if (running.signal.aborted) turn.stop();
      else this.#fail(turn, error);
    } finally {
      if (this.#running === running) this.#running = null;
      this.onChange();
    }
  }

  stop() {
    this.#running?.abort();
  }

  clear() {
    this.stop();
    this.#running = null;
    this.#turns = [];
    byId("turns").replaceChildren();
    this.#follows = true;
    this.onChange();
  }

  #fail(turn, error) {
    turn.failed = true;
    const failure = error.kind ? error : { kind: "PageError", message: `The page failed: ${error.message}` };
    if (!error.kind) console.error(error);
    turn.fail(failure, () => this.#retry(turn));
    this.onFailure(failure);
  }

  #retry(turn) {
    if (this.isRunning) return;
    this.#turns = this.#turns.filter((other) => other !== turn);
    turn.element.remove();
    byId("question").focus();
    this.ask(turn.question, turn.chosen);
  }

  #history() {
    const said = this.#turns.filter((turn) => !turn.failed && turn.text.trim()).slice(-MOST_TURNS);
    const messages = [];
    let characters = 0;
    for (const { question, text } of said.reverse()) {
      characters += question.length + text.length;
      if (characters > MOST_CHARACTERS) break;
      messages.unshift({ role: "user", content: question }, { role: "assistant", content: text });
    }
    return messages;
  }

  #noteScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_END;
    byId("latest").hidden = this.#follows;
  }

  #scrollToEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#follows = true;
    byId("latest").hidden = true;
  }
}
