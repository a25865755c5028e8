# Writes files as the table of api/assets.h:
#     cmake -DOUTPUT=... "-DASSETS=/path/in/request|file.html;..." -P embed.cmake
set(type_html "text/html; charset=utf-8")
set(arrays "")
set(rows "")
set(count 0)
foreach(asset ${ASSETS})
    string(REPLACE "|" ";" fields "${asset}")
    list(GET fields 0 path)
    list(GET fields 1 file)
    string(REGEX MATCH "[^.]*$" extension "${file}")
    if(NOT DEFINED type_${extension})
        message(FATAL_ERROR "${file}: no content type for .${extension} in embed.cmake")
    endif()
    file(READ "${file}" hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(................................................................................)"
                         "\\1\n" bytes "${bytes}")
    string(APPEND arrays "static const unsigned char asset_${count}[] = {\n${bytes}};\n\n")
    string(APPEND rows "    {{\"${path}\", sizeof \"${path}\" - 1},\n     \"${type_${extension}}\",\n"
                       "     {(const char *)asset_${count}, sizeof asset_${count}}},\n")
    math(EXPR count "${count} + 1")
endforeach()
file(WRITE "${OUTPUT}" "#include \"api/assets.h\"\n\n${arrays}"
                       "const struct bh_asset bh_assets[] = {\n${rows}};\n"
                       "const size_t bh_asset_count = ${count};\n")
