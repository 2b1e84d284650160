// The part of Markdown that answers use, as DOM nodes. What is not understood stays visible as it was written.

import { el } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^( {0,3})([-*+•]|\d{1,9}[.)])(\s+|$)(.*)$/;
const QUOTE = /^ {0,3}> ?/;
const ROW = /^\s*\|.*\|\s*$/;
const RULER = /^\s*\|(?:\s*:?-+:?\s*\|)+\s*$/;
// Deeper lists are shown flat: an answer may not exhaust the stack.
const MOST_DEPTH = 8;

/**
 * Shows a text that grows. Blocks that are complete stay as they are, so a long answer costs no more at its end
 * than at its beginning. The last two are made again: what looks like a new block may yet be a table's next row.
 */
export class MarkdownView {
  #done = 0;
  #open = [];

  constructor(place, makeMark) {
    this.place = place;
    this.makeMark = makeMark;
  }

  show(text, isWhole = false) {
    const blocks = readBlocks(text.slice(this.#done).split("\n"));
    const focus = this.#marks().indexOf(document.activeElement);
    for (const node of this.#open) node.remove();
    const nodes = blocks.map((block) => build(block, this.makeMark));
    this.place.append(...nodes);
    this.#open = isWhole ? [] : nodes.slice(-2);
    if (blocks.length > 2) this.#done += offsetOf(text.slice(this.#done), blocks.at(-2).line);
    if (focus >= 0 && !this.#marks().includes(document.activeElement)) this.#marks()[focus]?.focus();
  }

  #marks() {
    return [...this.place.querySelectorAll(".mark")];
  }
}

function offsetOf(text, line) {
  let offset = 0;
  for (let n = 0; n < line; n++) offset = text.indexOf("\n", offset) + 1;
  return offset;
}

function readBlocks(lines) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const [block, next] = readBlock(lines, at);
    blocks.push({ ...block, line: at });
    at = next;
  }
  return blocks;
}

function readBlock(lines, at) {
  const line = lines[at];
  let found;
  if ((found = FENCE.exec(line))) return readFence(lines, at, found[1]);
  if ((found = HEADING.exec(line))) return [{ kind: "heading", level: found[1].length, text: found[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (ITEM.test(line)) return readList(lines, at);
  if (QUOTE.test(line)) return readQuote(lines, at);
  if (ROW.test(line) && RULER.test(lines[at + 1] ?? "")) return readTable(lines, at);
  return readParagraph(lines, at);
}

function readFence(lines, at, fence) {
  let end = at + 1;
  while (end < lines.length && !isClosing(lines[end], fence)) end++;
  return [{ kind: "code", text: lines.slice(at + 1, end).join("\n") }, end + 1];
}

function isClosing(line, fence) {
  const mark = line.trim();
  return mark.length >= fence.length && mark === fence[0].repeat(mark.length);
}

function readQuote(lines, at) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  return [{ kind: "quote", lines: lines.slice(at, end).map((line) => line.replace(QUOTE, "")) }, end];
}

function readParagraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !interrupts(lines[end])) end++;
  return [{ kind: "paragraph", text: lines.slice(at, end).join("\n") }, end];
}

function beginsBlock(line) {
  return [FENCE, HEADING, RULE, ITEM, QUOTE].some((pattern) => pattern.test(line));
}

/** A line that begins with a number is a list's only at 1: years and sums begin lines, too. */
function interrupts(line) {
  const item = ITEM.exec(line);
  return item ? Boolean(item[4]) && /^(?:1[.)]|\D)$/.test(item[2]) : beginsBlock(line);
}

function readList(lines, at) {
  const [, , first] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(first);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const found = ITEM.exec(lines[end]);
    if (!found || /\d/.test(found[2]) !== ordered || RULE.test(lines[end])) break;
    const indent = found[1].length + found[2].length + Math.min(found[3].length || 1, 4);
    const item = [found[4]];
    end = readItem(lines, end + 1, indent, item);
    items.push(item);
  }
  return [{ kind: "list", ordered, start: ordered ? Number.parseInt(first, 10) : 1, items }, end];
}

/** Take the lines that go on with an item: the indented ones, and what follows without a gap. */
function readItem(lines, at, indent, item) {
  let end = at;
  while (end < lines.length) {
    const line = lines[end];
    const inner = line.length - line.trimStart().length;
    if (!line.trim()) {
      const next = lines.slice(end).findIndex((later) => later.trim());
      const later = next < 0 ? "" : lines[end + next];
      if (next < 0 || !(/^\s{2,}/.test(later) || ITEM.test(later))) break;
      if (ITEM.test(later) && later.length - later.trimStart().length < 2) return end + next;
      item.push("");
    } else if (inner >= Math.min(indent, 2)) item.push(line.slice(Math.min(indent, inner)));
    else if (beginsBlock(line)) break;
    else item.push(line);
    end++;
  }
  return end;
}

function readTable(lines, at) {
  let end = at;
  while (end < lines.length && ROW.test(lines[end])) end++;
  const cells = lines.slice(at, end).map((row) => row.trim().slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
  return [{ kind: "table", head: cells[0], rows: cells.slice(2) }, end];
}

function build(block, makeMark, depth = 0) {
  const inline = (text) => readInline(text, makeMark);
  const inner = (lines) => buildInner(lines, makeMark, depth + 1);
  switch (block.kind) {
    case "heading":
      // Below the page's own headings.
      return el(`h${Math.min(block.level + 2, 6)}`, {}, ...inline(block.text));
    case "rule":
      return el("hr");
    case "code":
      return el("pre", { tabIndex: 0 }, el("code", {}, block.text));
    case "quote":
      return el("blockquote", {}, ...inner(block.lines));
    case "list": {
      const items = block.items.map((item) => el("li", {}, ...inner(item)));
      return block.ordered ? el("ol", { start: block.start }, ...items) : el("ul", {}, ...items);
    }
    case "table":
      return buildTable(block, inline);
    default:
      return el("p", {}, ...inline(block.text));
  }
}

function buildInner(lines, makeMark, depth) {
  if (depth > MOST_DEPTH) return [lines.join("\n")];
  const blocks = readBlocks(lines);
  const nodes = blocks.map((block) => build(block, makeMark, depth));
  // A tight item is its text, not a paragraph.
  if (blocks[0]?.kind === "paragraph" && !blocks.slice(1).some(({ kind }) => kind === "paragraph")) {
    nodes.splice(0, 1, ...nodes[0].childNodes);
  }
  return nodes;
}

function buildTable({ head, rows }, inline) {
  const row = (cells, tag) => el("tr", {}, ...cells.map((cell) => el(tag, {}, ...inline(cell))));
  const body = el("tbody", {}, ...rows.map((cells) => row(cells, "td")));
  // Wide tables scroll on their own, the page does not.
  return el("div", { className: "table", tabIndex: 0 }, el("table", {}, el("thead", {}, row(head, "th")), body));
}

const INLINE = new RegExp(
  [
    /(?<code>(?<ticks>`+)(?!`)(?<coded>[\s\S]*?[^`])\k<ticks>(?!`))/,
    /(?<escape>\\[\\`*_{}[\]()#+\-.!|>~])/,
    /(?<mark>\[(?<number>\d{1,3})\])/,
    /(?<link>\[(?<label>[^\][\n]{1,500})\]\((?<target>https?:\/\/[^\s()<>]{1,2000})\))/,
    /(?<auto>https?:\/\/[^\s<>()[\]"'`]{1,2000}[^\s<>()[\]"'`.,;:!?*_])/,
    /(?<strong>(?<stars>\*\*|__)(?=\S)(?<bold>[\s\S]{0,5000}?\S)\k<stars>)/,
    /(?<em>(?<![\p{L}\p{N}])(?<star>[*_])(?=[^\s*_])(?<italic>[\s\S]{0,5000}?[^\s*_])\k<star>(?![\p{L}\p{N}]))/u,
  ]
    .map((part) => part.source)
    .join("|"),
  "u",
);

/** Return the nodes of a text within a block; `makeMark` gives a node for [n], or nothing where n is no source. */
export function readInline(text, makeMark, depth = 0) {
  const nodes = [];
  let rest = text;
  for (let found; depth < MOST_DEPTH && (found = INLINE.exec(rest)); rest = rest.slice(found.index + found[0].length)) {
    nodes.push(rest.slice(0, found.index), ...buildInline(found, makeMark, depth + 1));
  }
  nodes.push(rest);
  return nodes.filter((node) => node !== "");
}

function buildInline({ 0: whole, groups }, makeMark, depth) {
  const inner = (text) => readInline(text, makeMark, depth);
  if (groups.code) return [el("code", {}, groups.coded.trim() || groups.coded)];
  if (groups.escape) return [whole[1]];
  if (groups.mark) return [makeMark(Number(groups.number)) ?? whole];
  if (groups.link) return [buildLink(groups.label, groups.target)];
  if (groups.auto) return [buildLink(whole, whole)];
  if (groups.strong) return [el("strong", {}, ...inner(groups.bold))];
  return [el("em", {}, ...inner(groups.italic))];
}

/** The address is shown behind the words, for the words are a model's. */
function buildLink(label, target) {
  if (!URL.canParse(target)) return label;
  const link = el("a", { href: target, rel: "noopener noreferrer", target: "_blank" }, label);
  if (label !== target) link.append(el("span", { className: "address" }, ` (${new URL(target).host})`));
  return link;
}
