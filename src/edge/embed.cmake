# Writes the bytes of INPUT as a C array to OUTPUT: cmake -DINPUT=... -DOUTPUT=... -P embed.cmake
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)"
                     "\\1\n" bytes "${bytes}")
file(WRITE "${OUTPUT}" "#include \"api/demo_page.h\"\n\nconst unsigned char bh_demo_html[] = {\n${bytes}};\n"
                       "const size_t bh_demo_html_len = sizeof bh_demo_html;\n")
