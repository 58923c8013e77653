"use strict";
// Search in the book: every section of the notebooks comes in as JSON and reaches the page as text nodes only.

const sections = JSON.parse(document.getElementById("data").textContent);
const [box, count, results, chapters] = ["search", "count", "results", "chapters"].map((id) => document.getElementById(id));
const plain = (text) => text.normalize("NFC").toLowerCase();
for (const section of sections) {
  section.text = section.text.replace(/\s+/g, " ");
  section.searched = plain(`${section.title} ${section.heading} ${section.text}`);
}

function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}
function excerpt(text, word) { // the words around the first place of `word`, which is marked
  const at = Math.max(0, plain(text).indexOf(word)), from = Math.max(0, at - 80), found = text.slice(at, at + word.length);
  const marked = plain(found) === word ? element("mark", found) : found;
  return [from ? "… " : "", text.slice(from, at), marked, `${text.slice(at + word.length, at + 160)} …`];
}
function search() {
  const words = plain(box.value).split(/\s+/).filter(Boolean);
  const found = words.length ? sections.filter((section) => words.every((word) => section.searched.includes(word))) : [];
  count.textContent = words.length ? `${found.length} ${found.length === 1 ? "section" : "sections"}` : "";
  chapters.hidden = words.length > 0;
  results.replaceChildren(...found.map((section) => {
    const link = element("a", section.heading === section.title ? section.title : `${section.title}: ${section.heading}`);
    link.href = `${section.page}#${encodeURIComponent(section.id)}`;
    return element("li", element("b", link), element("br"), element("small", ...excerpt(section.text, words[0])));
  }));
}
box.addEventListener("input", search);
box.value = decodeURIComponent(location.hash.slice(1)); // index.html#words is a search too
search();
