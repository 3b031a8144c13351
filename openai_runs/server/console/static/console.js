// Keeps a page as the server would show it now: it reads the page again when runs have changed, and while one of them
// has not ended, and changes what is different. What the reader has opened, typed or focused stays. What a model is
// writing comes piece by piece, and is put into its place as text.

const PATIENCE = 30_000; // milliseconds that a read may take: the next one waits for its end

const main = document.querySelector("main");
const news = document.getElementById("news");
const lost = document.getElementById("connection");

function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    const two = (number) => String(number).padStart(2, "0");
    time.textContent =
      `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
      `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
    time.title = date.toUTCString();
  }
}

function copyAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function setData(node, data) {
  if (data.startsWith(node.data)) node.appendData(data.slice(node.length)); // what is selected of it stays selected
  else node.data = data;
}

function update(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    setData(old, fresh.data);
    return;
  }
  if (old.matches("textarea, select, input:not([type=hidden])")) return; // somebody may be typing there
  copyAttributes(old, fresh);
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id && [...old.children].find((each) => each.id === child.id);
    if (same && same.nodeName === child.nodeName) {
      if (same === next) next = next.nextSibling;
      else old.insertBefore(same, next);
      update(same, child);
    } else if (!child.id && next && !next.id && next.nodeName === child.nodeName) {
      const following = next.nextSibling;
      update(next, child);
      next = following;
    } else {
      old.insertBefore(document.importNode(child, true), next);
    }
  }
  while (next) {
    const following = next.nextSibling;
    next.remove();
    next = following;
  }
}

const written = new Map(); // texts that are being written, by the names that elements have for them

function showWritten(root) {
  for (const element of root.querySelectorAll("[data-written]")) {
    const text = written.get(element.dataset.written);
    if (text !== undefined) element.textContent = text;
  }
}

function addWritten(event) {
  let isKnown = true;
  for (const { of, text, is_start } of JSON.parse(event.data)) {
    written.set(of, is_start ? text : written.get(of) + text);
    const shown = [...main.querySelectorAll("[data-written]")].filter((each) => each.dataset.written === of);
    isKnown &&= shown.length > 0 || !is_start;
    for (const element of shown) {
      if (!element.firstChild) element.append("");
      setData(element.firstChild, written.get(of));
    }
  }
  if (!isKnown) refresh(); // a message or a call has begun
}

function statuses() {
  return new Map([...main.querySelectorAll("[data-status]")].map((each) => [each.dataset.name, each.dataset.status]));
}

let isReading = false;
let isStale = false;
let timer;

async function refresh() {
  if (document.hidden || isReading) {
    isStale = true;
    return;
  }
  isReading = true;
  isStale = false;
  clearTimeout(timer);
  try {
    const response = await fetch(location.href, {
      headers: { Accept: "text/html" },
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (response.status === 401) return location.reload(); // the session has ended
    if (response.status === 429 || response.status >= 500) throw new Error(response.statusText); // no page; later it is
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    localize(fresh);
    showWritten(fresh); // the feed is never behind what was read
    const before = statuses();
    update(main, fresh.querySelector("main"));
    document.title = fresh.title;
    const changed = [...statuses()].filter(([name, status]) => before.has(name) && before.get(name) !== status);
    if (changed.length) {
      news.textContent = changed.slice(0, 3).map(([name, status]) => `${name}: ${status.replace("_", " ")}`).join(", ");
    }
    lost.hidden = true;
    if (main.dataset.feed !== feed) connect();
  } catch {
    lost.hidden = false;
  }
  isReading = false;
  const pause = isStale ? 300 : Number(main.dataset.refresh) || (lost.hidden ? 0 : 3000);
  if (pause) timer = setTimeout(refresh, pause);
}

let source;
let feed; // what the page was connected to, if it is seen

// Not while the page is hidden: a browser has six connections to a server, for all of its tabs.
function connect() {
  source?.close();
  feed = main.dataset.feed;
  if (!main.dataset.feed || document.hidden) return;
  source = new EventSource(feed);
  source.onmessage = refresh;
  source.addEventListener("written", addWritten);
  source.onopen = refresh; // what has changed while it was not connected
  source.onerror = () => {
    lost.hidden = false;
    written.clear(); // the next connection begins with all of it
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000); // it does not try again by itself
  };
}

localize(document);
connect();
if (main.dataset.refresh) timer = setTimeout(refresh, Number(main.dataset.refresh));
document.addEventListener("visibilitychange", () => {
  connect();
  if (!document.hidden && (isStale || main.dataset.refresh)) refresh();
});
