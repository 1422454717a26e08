// A file dropped anywhere on the page.

import { notice } from "./notices.js";
import { text } from "./texts.js";

/** Calls `open(file)` for a file that is dropped while `ready()`. */
export function onDrop(ready, open) {
  const target = document.getElementById("drop");
  const carriesFile = (event) => ready() && event.dataTransfer.types.includes("Files");
  let entered = 0; // elements under the pointer
  const over = (count) => target.classList.toggle("over", (entered = count) > 0);
  addEventListener("dragenter", (event) => carriesFile(event) && over(entered + 1));
  addEventListener("dragleave", (event) => carriesFile(event) && over(entered - 1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(0);
    if (!carriesFile(event)) return;
    const { files } = event.dataTransfer;
    if (files.length === 1) open(files[0]);
    else notice(text("oneFile"));
  });
}
