"use strict";

// Swagger UI over our own document: nothing is asked of another host.
const place = document.getElementById("docs");
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const followTheBrowser = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followTheBrowser);
followTheBrowser();

SwaggerUIBundle({
  domNode: place,
  url: place.dataset.schema,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
