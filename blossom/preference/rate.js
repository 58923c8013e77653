// One page, no server: questions and answers come in as JSON and only ever become text nodes. Every choice goes to
// localStorage at once, under this batch and this rater, and leaves as a file.

const items = data.items;
const PLACE = `blossom-rate/${data.batch}/${data.rater}`;
const CHOICES = ["A", "B", "neither"];
const LONG = 2400; // characters after which an answer is folded
const state = { verdicts: new Map(), at: 0, done: [], busy: false, saved: true, since: 0 };
const ko = () => document.documentElement.lang === "ko";
const say = (korean, english) => (ko() ? korean : english);


// ----------------------------------------------------------------------- what the rater chose: in memory and localStorage

function sound(id, verdict) {
  return items.some((item) => item.id === id) && verdict && CHOICES.includes(verdict.choice)
    && Number.isInteger(verdict.seconds) && verdict.seconds >= 0 && !isNaN(Date.parse(verdict.at));
}
function take(verdicts) { // keeps the later of two verdicts on one pair; returns how many came in
  let taken = 0;
  for (const { id, choice, seconds, at } of verdicts) {
    if (!sound(id, { choice, seconds, at }) || state.verdicts.get(id)?.at >= at) continue;
    state.verdicts.set(id, { choice, seconds, at });
    taken++;
  }
  return taken;
}
function load() {
  let text = null;
  try {
    text = localStorage.getItem(PLACE);
    const saved = JSON.parse(text) || [];
    if (take(saved) === saved.length) return;
  } catch { if (text === null) return; }
  try { localStorage.setItem(`${PLACE}/unread`, text); } catch { /* what cannot be read is put aside, not overwritten */ }
}
function reload() { // another tab, or a page that the browser had put to sleep
  state.verdicts.clear();
  state.done = [];
  load();
  show(state.at);
}
function save() {
  try { localStorage.setItem(PLACE, JSON.stringify(listed())); state.saved = true; } catch { state.saved = false; }
  showProgress();
}
const listed = () => items.filter((item) => state.verdicts.has(item.id)).map((item) => ({ id: item.id, ...state.verdicts.get(item.id) }));
const firstOpen = (from = 0) => [...items.keys()].map((n) => (from + n) % items.length).find((n) => !state.verdicts.has(items[n].id));

function showProgress() {
  const done = state.verdicts.size;
  $("bar").max = items.length;
  $("bar").value = done;
  $("count").textContent = say(`${items.length}개 가운데 ${done}개`, `${done} of ${items.length}`);
  $("saved").classList.toggle("bad", !state.saved);
  $("saved").textContent = state.saved ? say("저장됨 ✓", "Saved ✓")
    : say("저장되지 않습니다. 창을 닫기 전에 내보내기를 하세요.", "Not saved: export before you close this page.");
}

// ------------------------------------------------------------------------------------------------ texts, shown and not run

// Characters that cannot be seen or that turn the direction of what follows are shown by name instead of working.
const NAMES = { 0x61c: "ALM", 0xad: "SHY", 0x200b: "ZWSP", 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO",
  0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xfeff: "BOM" };
const UNSEEN = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\p{Cs}])\1*/gu;

const PIECE = /[^]{1,4000}\n|[^]{1,4000}\s|[^]{1,4000}/gu; // browsers lay out many short blocks much faster than one long one

function shown(text, budget) { // text nodes, and a label where an unseen character stood; past the budget a sign will do
  const parts = [""];
  let last = 0;
  for (const found of text.matchAll(UNSEEN)) {
    const code = found[1].codePointAt(0), name = NAMES[code] || `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    const times = found[0].length / found[1].length, label = times > 1 ? `${name}×${times}` : name;
    parts[parts.length - 1] += text.slice(last, found.index);
    if (budget.labels-- > 0) parts.push(make("span", { className: "mark", title: say("보이지 않는 문자", "unseen character") }, label), "");
    else parts[parts.length - 1] += "\ufffd".repeat(times);
    last = found.index + found[0].length;
  }
  parts[parts.length - 1] += text.slice(last);
  return parts;
}
function textOf(text, language) {
  if (!text.trim()) return make("p", { className: "empty" }, text ? say("빈 답변 (공백만 있음)", "Empty answer (only white space)") : say("빈 답변", "Empty answer"));
  const plain = text.replace(/\r\n?/g, "\n"), budget = { labels: 2000 };
  const box = make("div", { className: "text data", dir: "auto", lang: language });
  if (plain.length <= 4000) box.append(...shown(plain, budget));
  else for (const [piece] of plain.matchAll(PIECE)) box.append(make("div", { dir: "auto" }, ...shown(piece, budget)));
  return box;
}
function answerCard(letter, text, language, chosen) {
  const size = [...text].length, body = textOf(text, language);
  const card = make("section", { className: "card answer" + (chosen ? " chosen" : ""), aria: { label: say(`답변 ${letter}`, `Answer ${letter}`) } },
    make("h2", {}, make("b", {}, letter), say(`${size.toLocaleString()}자`, `${size.toLocaleString()} characters`)), body);
  if (size > LONG || text.split("\n").length > 60) {
    card.classList.add("long");
    const unfold = make("button", { className: "more", aria: { expanded: "false" }, onclick: () => {
      const open = card.classList.toggle("open");
      unfold.setAttribute("aria-expanded", String(open));
      unfold.textContent = open ? say("접기", "Fold") : all;
      body.tabIndex = open ? 0 : -1; // so that the keys scroll it
      if (!open) card.scrollIntoView({ block: "nearest" });
    } });
    const all = say(`전체 보기 (${size.toLocaleString()}자)`, `Show all (${size.toLocaleString()} characters)`);
    unfold.textContent = all;
    card.append(unfold);
  }
  return card;
}

// ------------------------------------------------------------------------------------------------------------ the screens

function show(at, told = "") {
  state.at = Math.max(0, Math.min(at, items.length));
  state.since = performance.now();
  const item = items[state.at], chosen = item && state.verdicts.get(item.id)?.choice;
  $("screen").replaceChildren(...(item ? question(item, chosen) : [finished()]));
  for (const button of document.querySelectorAll(".vote")) {
    button.hidden = !item;
    button.classList.remove("just");
    button.setAttribute("aria-pressed", String(button.dataset.choice === chosen));
  }
  $("back").disabled = state.at === 0;
  $("forward").hidden = !item;
  $("told").textContent = told;
  showProgress();
  window.scrollTo(0, 0);
}
function question(item, chosen) {
  const [a, b] = item.answers;
  return [
    make("section", { className: "card prompt" }, make("h2", {}, say(`질문 ${state.at + 1}`, `Question ${state.at + 1}`)), textOf(item.prompt, item.language)),
    a === b && a.trim() ? make("p", { className: "note" }, say("두 답변이 똑같습니다.", "The two answers are the same.")) : null,
    make("div", { className: "answers" }, answerCard("A", a, item.language, chosen === "A"), answerCard("B", b, item.language, chosen === "B")),
  ].filter((part) => part !== null);
}
function finished() {
  const open = items.length - state.verdicts.size;
  const send = make("button", { className: "main", onclick: exportFile }, say("파일로 내보내기", "Export the file"));
  if (open) {
    return make("section", { className: "finished" }, make("h2", {}, say(`${open}개가 남았습니다`, `${open} left`)),
      make("p", {}, say("건너뛴 것으로 돌아가 마저 골라 주세요.", "Please go back to those you skipped.")),
      make("button", { className: "main", onclick: () => show(firstOpen()) }, say("남은 것 보기", "Go to the first one")));
  }
  return make("section", { className: "finished" }, make("h2", {}, say("모두 마쳤습니다. 고맙습니다!", "All done. Thank you!")),
    make("p", {}, say("아래 버튼으로 파일을 만들어, 이 페이지를 준 담당자에게 보내 주세요.", "Make the file with the button below and send it to the person who gave you this page.")),
    send, make("p", { className: "fine" }, say("고친 것이 있으면 다시 내보내 새 파일을 보내 주세요.", "If you change a choice later, export again and send the new file.")));
}
function vote(choice) {
  const item = items[state.at];
  if (!item || state.busy) return;
  const before = state.verdicts.get(item.id) || null;
  state.done.push({ at: state.at, before });
  const seconds = Math.min(86400, Math.round((performance.now() - state.since) / 1000) + (before?.seconds || 0));
  state.verdicts.set(item.id, { choice, seconds, at: new Date().toISOString() });
  save();
  state.busy = true; // long enough to see what was chosen, and to swallow a double press
  for (const button of document.querySelectorAll(".vote")) button.classList.toggle("just", button.dataset.choice === choice);
  setTimeout(() => { state.busy = false; show(firstOpen(state.at) ?? items.length); }, 250);
}
function undo() {
  const last = state.done.pop();
  if (!last || state.busy) return;
  if (last.before) state.verdicts.set(items[last.at].id, last.before);
  else state.verdicts.delete(items[last.at].id);
  save();
  show(last.at, say("방금 고른 것을 되돌렸습니다.", "Undid your last choice."));
}

// ------------------------------------------------------------------------------------------------------- out and in again

function crc32(text) {
  let sum = ~0;
  for (const byte of new TextEncoder().encode(text)) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return (~sum >>> 0).toString(16).padStart(8, "0");
}
const checksum = (verdicts) => crc32([data.format, data.batch, data.rater, ...verdicts.map((v) => [v.id, v.choice, v.seconds, v.at].join("\t"))].join("\n"));

function exportFile() {
  const verdicts = listed();
  const content = { format: data.format, batch: data.batch, rater: data.rater, asked: items.length, exported: new Date().toISOString(),
    verdicts, checksum: checksum(verdicts) };
  download(content, `ratings-${data.batch.slice(0, 8)}-${data.rater}`);
  const left = items.length - verdicts.length;
  $("told").textContent = say(`${verdicts.length}개를 파일로 내보냈습니다.`, `Exported ${verdicts.length}.`)
    + (left ? say(` 아직 ${left}개가 남아 있습니다.`, ` ${left} are left.`) : "");
}
async function importFile(file) {
  const content = await parsed(file);
  $("guide").close();
  if (content?.format !== data.format || !Array.isArray(content.verdicts)) return tell("이 페이지에서 내보낸 파일이 아닙니다.", "This page did not export that file.");
  if (content.batch !== data.batch) return tell("다른 평가 묶음의 파일입니다.", "That file belongs to another batch.");
  if (content.rater !== data.rater) return tell(`${content.rater} 님의 파일입니다.`, `That file is ${content.rater}'s.`);
  if (content.checksum !== checksum(content.verdicts)) return tell("파일이 손상되었거나 고쳐졌습니다.", "That file is damaged or was edited.");
  const taken = take(content.verdicts);
  save();
  show(firstOpen() ?? items.length, say(`${taken}개를 가져왔습니다.`, `Took ${taken} from the file.`));
}
function tell(korean, english) {
  $("told").textContent = say(korean, english);
}

// -------------------------------------------------------------------------------------------------------- keys and start

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector("dialog[open]")) return;
  const digit = /^(?:Digit|Numpad)([123])$/.exec(event.code); // by place, so that a Hangul keyboard works too
  if (digit) vote(CHOICES[digit[1] - 1]);
  else if (event.code === "KeyZ" || event.code === "Backspace") undo();
  else if (document.activeElement.classList.contains("text")) return; // the arrows scroll an unfolded answer
  else if (event.code === "ArrowLeft" && !state.busy) show(state.at - 1);
  else if (event.code === "ArrowRight" && !state.busy) show(state.at + 1);
  else if (event.key === "?") $("guide").showModal();
  else return;
  event.preventDefault();
});
document.querySelectorAll(".vote").forEach((button) => button.addEventListener("click", () => { button.blur(); vote(button.dataset.choice); }));
$("back").addEventListener("click", () => !state.busy && show(state.at - 1));
$("forward").addEventListener("click", () => !state.busy && show(state.at + 1));
$("export").addEventListener("click", exportFile);
$("help").addEventListener("click", () => $("guide").showModal());
$("import").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", async () => {
  if ($("file").files[0]) await importFile($("file").files[0]);
  $("file").value = "";
});
function speak(language) {
  document.documentElement.lang = language;
  try { localStorage.setItem("blossom-rate/language", language); } catch { /* only a comfort */ }
}
$("tongue").addEventListener("click", () => { speak(say("en", "ko")); show(state.at); });
window.addEventListener("storage", (event) => { if (event.key === PLACE && event.newValue) reload(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) reload(); });
window.addEventListener("beforeunload", (event) => { if (!state.saved) event.preventDefault(); });
try { if (["ko", "en"].includes(localStorage.getItem("blossom-rate/language"))) speak(localStorage.getItem("blossom-rate/language")); } catch { /* no storage */ }
load();
save();
show(firstOpen() ?? items.length);
if (!state.verdicts.size) $("guide").showModal();
