// Puts the page together: who is here, what is shown, and what the composer does.

import { findDocuments, readSession, signIn, signOut } from "./api.js";
import { Conversation } from "./conversation.js";
import { announce, byId } from "./dom.js";
import { Picker } from "./picker.js";
import { buildPanel } from "./sources.js";
import { Uploads } from "./uploads.js";

const question = byId("question");
const panel = buildPanel();
const picker = new Picker({ onFailure });
const uploads = new Uploads({ onDone: countDocuments, onFailure });
const conversation = new Conversation({ openSource: panel.open, onChange: showState, onFailure });
let tenant = null;

function showState() {
  byId("empty").hidden = !conversation.isEmpty;
  byId("new").hidden = conversation.isEmpty;
  // The focus must not be lost with the button that had it.
  const hadFocus = document.activeElement === byId("send") || document.activeElement === byId("stop");
  byId("send").hidden = conversation.isRunning;
  byId("stop").hidden = !conversation.isRunning;
  if (hadFocus) question.focus();
}

async function start() {
  try {
    await enter(await readSession());
  } catch (error) {
    showNote(error.message);
  }
}

async function enter(session) {
  const isIn = session.tenant !== null;
  if (isIn && tenant !== null && session.tenant !== tenant) forget();
  tenant = session.tenant ?? tenant;
  byId("sign-out").hidden = byId("tenant").hidden = !(isIn && session.locked);
  byId("tenant").textContent = session.tenant ?? "";
  uploads.allowed = session.roles.includes("ingest");
  byId("chat").hidden = !isIn;
  byId("gate").hidden = isIn;
  byId("sign-in").hidden = !session.locked;
  byId("gate-note").hidden = true;
  byId("new").hidden = !isIn || conversation.isEmpty;
  if (isIn) {
    question.focus();
    await countDocuments();
  } else if (session.locked) byId("key").focus();
  // There are no keys, and still this caller is not let in: the server says why.
  else await findDocuments("", undefined, 0).catch((error) => showNote(error.message));
}

function showNote(text) {
  byId("chat").hidden = true;
  byId("gate").hidden = false;
  byId("sign-in").hidden = true;
  byId("gate-note").hidden = false;
  byId("gate-note").textContent = text;
  announce(text);
}

/** Leave nothing of one person's for the next. */
function forget() {
  panel.close();
  conversation.clear();
  picker.clear();
  uploads.clear();
  question.value = "";
}

function onFailure(failure) {
  if (failure.kind !== "Unauthenticated") return;
  panel.close();
  start();
}

async function countDocuments() {
  try {
    const { total } = await findDocuments("", undefined, 0);
    byId("empty-lead").textContent = total
      ? `Answers from your ${total === 1 ? "document" : `${total} documents`}, each sentence with the passage behind it.`
      : "There are no documents yet. Add some, and their answers come with the passages behind them.";
  } catch {
    // Asking tells what is wrong; the greeting need not.
  }
}

function submit() {
  const text = question.value.trim();
  if (!text || conversation.isRunning) return;
  question.value = "";
  grow();
  conversation.ask(text, picker.chosen);
}

function grow() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

question.addEventListener("input", grow);
question.addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
byId("stop").addEventListener("click", () => conversation.stop());
byId("new").addEventListener("click", () => {
  panel.close();
  conversation.clear();
  question.focus();
  announce("New conversation");
});
byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("gate-error").textContent = "";
  try {
    const session = await signIn(byId("key").value);
    byId("key").value = "";
    await enter(session);
  } catch (error) {
    byId("gate-error").textContent = error.message;
    byId("key").select();
  }
});
byId("sign-out").addEventListener("click", async () => {
  try {
    const session = await signOut();
    forget();
    tenant = null;
    await enter(session);
  } catch (error) {
    announce(error.message);
  }
});

start();
