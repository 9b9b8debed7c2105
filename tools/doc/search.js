// Finds sections and functions that have all the words. The index is a script, so that it works from a disk, too.
(() => {
  const root = document.currentScript.dataset.root, box = document.getElementById("search"), found = document.getElementById("found");
  const MOST = 30;

  function score(entry, words) {
    const title = entry[0].toLowerCase(), text = (entry[3] || "").toLowerCase();
    let sum = 0;
    for (const word of words) {
      if (title === word || title.endsWith("." + word) || title.endsWith(":" + word)) sum += 8;
      else if (title.includes(word)) sum += 4;
      else if (text.includes(word)) sum += 1;
      else return 0;
    }
    return sum;
  }

  function show() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    found.hidden = words.length === 0;
    found.replaceChildren();
    if (!words.length) return;
    const hits = (window.searchIndex || []).map((entry) => [score(entry, words), entry]).filter((hit) => hit[0] > 0);
    hits.sort((a, b) => b[0] - a[0]);
    for (const [, entry] of hits.slice(0, MOST)) {
      const link = document.createElement("a"), where = document.createElement("small");
      link.href = root + entry[2];
      link.textContent = entry[0];
      where.textContent = entry[1];
      link.append(where);
      found.append(link);
    }
    if (!hits.length) found.textContent = "Nothing has all of these words.";
  }

  box.addEventListener("input", show);
  found.addEventListener("click", () => { found.hidden = true; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== box) {
      event.preventDefault();
      box.focus();
    } else if (event.key === "Escape") {
      box.value = "";
      show();
    } else if (event.key === "Enter" && document.activeElement === box && found.querySelector("a")) {
      found.querySelector("a").click();
    }
  });
})();
