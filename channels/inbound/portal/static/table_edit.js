// A file that is chosen takes the place of the text; it is sent with the form like any other text.

const upload = document.getElementById("upload");
upload.disabled = false;
upload.addEventListener("change", async () => {
  const file = upload.files[0];
  if (file) document.getElementById("text").value = await file.text();
});
